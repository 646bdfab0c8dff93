"""The supervisor against real processes that die, refuse, and outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from floop_robot.services.supervision.priority import has_session_nice
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.supervisor import Supervisor
from tests.support.waiting import wait_for

IDLER = "import signal, time\ndef main(argv):\n    print('up', flush=True)\n    while True: time.sleep(60)\n"
REFUSER = (
    "from floop_robot.spec.errors import ConfigError\n"
    "def main(argv):\n    raise ConfigError('port 1 is taken; choose another')\n"
)
STUBBORN = (
    "import signal, time\ndef main(argv):\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "    print('up', flush=True)\n    while True: time.sleep(60)\n"
)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files can be started like floop's own processes."""
    package = tmp_path / "site"
    package.mkdir()
    for name, text in {"idler": IDLER, "refuser": REFUSER, "stubborn": STUBBORN}.items():
        (package / f"{name}.py").write_text(text)
    (package / "sitecustomize.py").write_text(
        f"import floop_robot.services\nfloop_robot.services.__path__.append({str(package)!r})\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{package}:{Path(__file__).parents[3]}")
    return tmp_path


def spec(name: str, module: str) -> ProcessSpec:
    return ProcessSpec(name=name, module=module, arguments=())


def test_a_killed_process_comes_back_and_is_reported(modules: Path) -> None:
    with Supervisor([spec("a", "idler")], modules) as supervisor:
        first = wait_for(lambda: supervisor.pid("a"))
        wait_for(lambda: "up" in supervisor.log("a").read_text())
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: supervisor.pid("a") not in (None, first))
        (restart,) = supervisor.restarts
        assert (restart.name, restart.exit_status) == ("a", -signal.SIGKILL)
        assert restart.down_s < 2.0


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the kernel has no autogroups")
def test_a_nice_process_is_nice_to_other_sessions_too(modules: Path) -> None:
    nice = ProcessSpec(name="a", module="idler", arguments=(), nice=7)
    with Supervisor([nice, spec("b", "idler")], modules) as supervisor:
        a, b = wait_for(lambda: supervisor.pid("a")), wait_for(lambda: supervisor.pid("b"))
        wait_for(lambda: "up" in supervisor.log("a").read_text())
        own = os.nice(0)
        assert os.getpriority(os.PRIO_PROCESS, a) == own + 7
        wait_for(lambda: Path(f"/proc/{a}/autogroup").read_text().endswith(f"nice {own + 7}\n"))
        assert Path(f"/proc/{b}/autogroup").read_text().endswith(f"nice {own}\n")


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the kernel has no autogroups")
def test_priorities_that_are_not_given_are_told_once(modules: Path, caplog: pytest.LogCaptureFixture) -> None:
    never = [ProcessSpec(name=name, module="idler", arguments=(), nice=30) for name in "ab"]  # Linux knows 19 at most
    nice = ProcessSpec(name="nice", module="idler", arguments=(), nice=5)
    with Supervisor([*never, nice], modules) as supervisor:
        pid = wait_for(lambda: supervisor.pid("nice"))
        wait_for(lambda: has_session_nice(pid), what="the last one's turn")
        assert caplog.messages == [f"Linux does not accept nice {os.nice(0) + 30} for the session of a"]


def test_what_cannot_be_started_now_is_started_later(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("floop_robot.services.supervision.supervisor.LONGEST_BACKOFF_S", 0.2)
    with Supervisor([spec("a", "idler"), spec("b", "idler")], modules) as supervisor:
        for name in ("a", "b"):
            wait_for(lambda name=name: "up" in supervisor.log(name).read_text())
        log = supervisor.log("a")
        log.unlink()
        log.mkdir()  # as a disk without room for its log would, it refuses the start
        for name in ("a", "b"):
            os.kill(supervisor.pid(name), signal.SIGKILL)
        wait_for(lambda: [r.name for r in supervisor.restarts] == ["b"])
        log.rmdir()
        wait_for(lambda: [r.name for r in supervisor.restarts] == ["b", "a"])
        assert not supervisor.given_up


def test_a_user_error_is_not_repeated_but_reported(modules: Path) -> None:
    with Supervisor([spec("r", "refuser"), spec("a", "idler")], modules) as supervisor:
        wait_for(lambda: supervisor.given_up)
        assert supervisor.given_up == {"r": "port 1 is taken; choose another"}
        assert supervisor.pid("a") is not None


def test_stop_ends_even_a_stubborn_process(modules: Path) -> None:
    with Supervisor([spec("s", "stubborn"), spec("a", "idler")], modules) as supervisor:
        wait_for(lambda: "up" in supervisor.log("s").read_text() and "up" in supervisor.log("a").read_text())
        pids = [supervisor.pid("s"), supervisor.pid("a")]
        started = time.monotonic()
        supervisor.stop(grace_s=1.0)
        assert time.monotonic() - started < 5.0
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_killed_supervisor_takes_its_processes_along(modules: Path) -> None:
    program = (
        "import pathlib, time\n"
        "from floop_robot.services.supervision.process_spec import ProcessSpec\n"
        "from floop_robot.services.supervision.supervisor import Supervisor\n"
        "specs = [ProcessSpec(name='a', module='idler', arguments=())]\n"
        f"with Supervisor(specs, pathlib.Path({str(modules)!r})) as s:\n"
        "    while not s.pid('a') or 'up' not in s.log('a').read_text(): time.sleep(0.02)\n"
        "    print(s.pid('a'), flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_user_error_after_good_work_is_tried_again(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk passes; what never worked is not worth repeating."""
    monkeypatch.setattr("floop_robot.services.supervision.supervisor.STABLE_AFTER_S", 0.0)
    with Supervisor([spec("r", "refuser")], modules) as supervisor:
        wait_for(lambda: len(supervisor.restarts) >= 2)
        assert supervisor.given_up == {}
