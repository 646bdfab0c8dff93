"""Stops and resets on their way to a servo loop that is held up: no stop is lost, no reset comes late."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from floop_robot.robot import estop_interface
from floop_robot.robot.estop_interface import MAX_WAITING, MISSED, EstopInterface
from floop_robot.robot.estop_latch import ALREADY_RESET, OTHER_STOP, EstopLatch
from floop_robot.robot.messages import EstopAnswer, EstopCommand, ResetCommand
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.safety_loop import SafetyCore
from floop_robot.spec.estop import RECENT_S
from floop_robot.spec.robot_model import load_robot
from tests.support.estop_commands import reset_of, stop
from tests.support.operator_tokens import TOKEN, operators_file
from tests.support.waiting import wait_for


class HeldUp:
    """An e-stop whose servo loop ticks when a test says so."""

    def __init__(self, tokens: OperatorTokens | None = None) -> None:
        self.latch = EstopLatch()
        self.core = SafetyCore(load_robot("panda"), 50.0, 12.5, 0.1, self.latch)
        self.estop = EstopInterface(self.latch, tokens)
        self.tick()

    def tick(self, *, only_stops: bool = False) -> None:
        now_s = time.monotonic()
        self.estop.carry_out(
            lambda command: self.core.apply_command(command, now_s, self.estop.inputs.held()), only_stops=only_stops
        )
        self.core.tick(now_s)

    def stop(self, who: str = "ann") -> None:
        self.estop.submit(stop(who))
        self.tick()

    def reset(self, **changes: str) -> ResetCommand:
        return reset_of(self.latch, **changes)


@pytest.fixture
def safety() -> HeldUp:
    """Stopped by ann."""
    found = HeldUp()
    found.stop()
    return found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estop_interface, "OBEY_TIMEOUT_S", 0.05)


@pytest.mark.parametrize("order", ["stop first", "reset first"])
def test_of_a_stop_and_a_reset_in_one_tick_the_stop_wins(safety: HeldUp, order: str) -> None:
    commands: list[EstopCommand] = [stop("bob"), safety.reset()]
    if order == "reset first":
        commands.reverse()
    before = safety.latch.state().stop_id
    verdicts = [safety.estop.submit(each) for each in commands]
    safety.tick()
    assert safety.latch.is_set and safety.latch.state().stop_id != before
    assert all(verdict.result()[0] for verdict in verdicts)


@pytest.mark.usefixtures("impatient")
def test_a_reset_whose_call_has_ended_is_void(safety: HeldUp) -> None:
    answer = safety.estop.call(safety.reset())  # nobody ticks in time
    assert (answer.success, answer.message, answer.state.latched) == (False, MISSED, True)
    safety.tick()
    assert safety.latch.is_set


@pytest.mark.usefixtures("impatient")
def test_a_stop_whose_call_has_ended_still_stops() -> None:
    safety = HeldUp()
    assert not safety.estop.call(stop()).success
    safety.tick()
    assert safety.latch.is_set


def test_stops_after_the_last_tick_are_taken_and_resets_are_not(safety: HeldUp) -> None:
    safety.estop.submit(safety.reset())
    safety.tick(only_stops=True)
    assert safety.latch.is_set
    before = safety.latch.state().stop_id
    safety.estop.submit(stop("bob"))
    safety.tick(only_stops=True)
    assert safety.latch.state().stop_id != before


def test_no_number_of_resets_pushes_a_stop_out(safety: HeldUp) -> None:
    stopped, reset = safety.estop.submit(stop("bob")), safety.reset()
    verdicts = [safety.estop.submit(reset) for _ in range(3 * MAX_WAITING)]
    assert sum(verdict.done() for verdict in verdicts) == 2 * MAX_WAITING  # refused at once
    safety.tick()
    assert stopped.result()[0] and safety.latch.is_set
    assert [verdicts[i].result() for i in (0, 1, -1)] == [(True, "reset"), (True, ALREADY_RESET), (False, MISSED)]
    safety.tick()
    assert safety.estop.submit(reset).done() is False
    safety.tick()
    assert safety.latch.is_set


class HungTokens(OperatorTokens):
    """In a file on a disk that does not answer."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go_on = threading.Event()

    def refusal(self, who: str, token: str) -> str:
        self.go_on.wait(20.0)
        return super().refusal(who, token)


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_hangs_delays_no_stop_and_its_reset_is_void(tmp_path: Path) -> None:
    tokens = HungTokens(Path(operators_file(tmp_path)))
    safety = HeldUp(tokens)
    safety.stop()
    reset, messages = safety.reset(token=TOKEN), list[str]()
    thread = threading.Thread(target=lambda: messages.append(safety.estop.call(reset).message))
    thread.start()
    safety.stop("bob")
    assert safety.latch.state().who == "ann; bob"
    began_s = time.monotonic()
    wait_for(lambda: time.monotonic() - began_s > 2 * estop_interface.OBEY_TIMEOUT_S)
    tokens.go_on.set()
    thread.join(10.0)
    safety.tick()
    assert messages == [MISSED] and safety.latch.is_set
    judged = safety.estop.submit(reset)
    safety.tick()
    assert judged.result() == (False, OTHER_STOP)
    assert "no valid operator token" in safety.estop.call(safety.reset(token="guess")).message


@pytest.mark.usefixtures("impatient")
def test_a_call_waits_for_servo_loop_and_disk(tmp_path: Path) -> None:
    latch = EstopLatch(tmp_path / "stopped")
    estop = EstopInterface(latch)
    answer = estop.call(stop())
    assert (answer.success, answer.message) == (False, MISSED)
    core, answers = SafetyCore(load_robot("panda"), 50.0, 12.5, 0.1, latch), list[EstopAnswer]()

    def call() -> EstopAnswer:
        thread = threading.Thread(target=lambda: answers.append(estop.call(stop(request_id="a"))))
        thread.start()
        while thread.is_alive():
            estop.carry_out(lambda command: core.apply_command(command, 0.0))
            time.sleep(0.001)
        return answers[-1]

    answer = call()
    assert not answer.success and "a restart would not know of it" in answer.message and answer.state.latched
    latch.file.save()
    assert call().success


def test_an_input_is_a_level_whose_rising_edge_stops(safety: HeldUp) -> None:
    safety.estop.inputs.set("button", True)
    safety.tick()
    first = safety.latch.state().stop_id
    for level in (True, False, True, True):  # bouncing, and another publisher that says false
        safety.estop.inputs.set("button", level)
        safety.tick()
    assert safety.latch.state().stop_id == first
    reset = safety.reset()
    verdict = safety.estop.submit(reset)
    safety.tick()
    assert verdict.result() == (False, "button still says stop")
    assert safety.estop.state().hardware_stop
    safety.estop.inputs.set("other", False)
    safety.estop.inputs.set("button", False)
    began_s = time.monotonic()
    wait_for(lambda: not safety.estop.inputs.held())
    assert time.monotonic() - began_s > 0.5 * RECENT_S
    verdict = safety.estop.submit(safety.reset())
    safety.tick()
    assert verdict.result()[0] and not safety.latch.is_set
    safety.estop.inputs.set("button", False)
    safety.tick()
    assert not safety.latch.is_set
    safety.estop.inputs.set("button", True)
    safety.tick()
    assert safety.latch.is_set
