"""Service call `/fleet/push_policy` → the last of the robots acting on the new version, with real node processes.

Run from the checkout, on a machine that does nothing else: `python benchmarks/ros_push.py [--pushes 60] [--full]`.
Every push is a call of the service over DDS; the version acts on a robot when its control loop has taken a step on it,
which the robot receipts to the fleet manager. Times of one push, all from the call:

* installed: until the last robot's receipt that the version was checked and acts from its next step on arrived
* acting: until the last robot's receipt of its first step on it arrived; steps are only taken while an episode runs
* answer: until the service's answer, which waited for just that
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from floop_interfaces.srv import FleetStatus, PushPolicy
from floop_policies import baseline
from floop_robot.bundle.delivery import InstallStage
from floop_robot.deploy.registry import read_history
from floop_robot.ros.node import topics
from floop_robot.services.fleet_manager import registry_path
from floop_robot.services.supervision.fleet_description import (
    Middleware,
    central_processes,
    simulated_fleet,
    write_config,
)
from floop_robot.services.supervision.ports import reserved_base_port
from floop_robot.services.supervision.ros_domain import local_environment, reserved_domain
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import Endpoints, FloopConfig, load_config

ANSWER_S = 60.0
BAR_S = 2.0


class Caller:
    """Calls services of one domain and waits for answers."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("ros_push", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._clients = {
            name: self._node.create_client(kind, name)
            for kind, name in ((PushPolicy, topics.PUSH_POLICY), (FleetStatus, topics.FLEET_STATUS))
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="caller")
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def call(self, name: str, request: Any, timeout_s: float = ANSWER_S) -> Any:
        """The answer; None when none came in time."""
        came = threading.Event()
        self._clients[name].wait_for_service(timeout_sec=timeout_s)
        future = self._clients[name].call_async(request)
        future.add_done_callback(lambda _: came.set())
        return future.result() if came.wait(timeout_s) else None

    def close(self) -> None:
        """Leave ROS."""
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come true within {timeout_s:g} s")
        time.sleep(0.2)


def push_all(caller: Caller, pushes: int, pause_s: float) -> list[tuple[int, int, float]]:
    """Version, wall-clock ns of the call, and seconds until its answer, of every push."""
    made = []
    for number in range(pushes):
        request = PushPolicy.Request(version=1, who="ros_push", why=f"push {number + 1}", wait_s=ANSWER_S)
        called_ns, called = time.time_ns(), time.monotonic()
        answer = caller.call(topics.PUSH_POLICY, request)
        took_s = time.monotonic() - called
        if answer is None or not answer.success:
            raise SystemExit(f"push {number + 1}: {answer.message if answer else 'no answer'}")
        made.append((answer.version, called_ns, took_s))
        time.sleep(pause_s * (0.5 + (number * 0.618) % 1.0))  # so that pushes meet every part of an episode
    return made


def last_receipt_ns(config: FloopConfig, stage: InstallStage) -> dict[int, int]:
    """When the last robot's receipt arrived, by version; only of versions that all robots receipted."""
    stamps: dict[int, list[int]] = {}
    for stored in read_history(registry_path(config)).receipts:
        if stored.receipt.stage is stage:
            stamps.setdefault(stored.receipt.version, []).append(stored.stamp_ns)
    return {version: max(found) for version, found in stamps.items() if len(found) == config.robots}


def percentile_line(name: str, seconds: list[float]) -> str:
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
    most = max(seconds)
    return f"{name}: p50 {p50:.3f} s, p95 {p95:.3f} s, p99 {p99:.3f} s, max {most:.3f} s ({len(seconds)} pushes)"


def measure(config: FloopConfig, domain: int, pushes: int, pause_s: float, full: bool) -> bool:
    file = write_config(config)
    specs = simulated_fleet(config, file, Middleware.ROS)
    if not full:
        spare = {s.name for s in central_processes(config, file, Middleware.ROS)} - {"fleet_manager", "ingest"}
        specs = [spec for spec in specs if spec.name not in spare]
    with Supervisor(specs, Path(config.run_dir), local_environment(domain)):
        caller = Caller(domain)
        try:

            def all_act() -> bool:
                found = caller.call(topics.FLEET_STATUS, FleetStatus.Request(), 5.0)
                robots = found.state.robots if found and found.success else []
                return len(robots) == config.robots and all(r.version > 0 and r.episodes > 0 for r in robots)

            wait_until(all_act, 120.0, "every robot working")
            made = push_all(caller, pushes, pause_s)
        finally:
            caller.close()
    print(f"{config.robots} robots, {len(specs)} processes, load average {os.getloadavg()[0]:.1f}")
    seconds: list[float] = []
    for stage in (InstallStage.INSTALLED, InstallStage.ACTING):
        came = last_receipt_ns(config, stage)
        seconds = [(came[version] - called_ns) * 1e-9 for version, called_ns, _ in made if version in came]
        print(percentile_line(stage.value, seconds))
    print(percentile_line("answer", [took_s for _, _, took_s in made]))
    p99 = float(np.percentile(seconds, 99))
    print(f"bar: p99 of acting ≤ {BAR_S:g} s: {'met' if p99 <= BAR_S else 'missed'}")
    return len(seconds) == pushes and p99 <= BAR_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pushes", type=int, default=60)
    parser.add_argument("--robots", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.5, help="mean pause between an answer and the next call, s")
    parser.add_argument("--full", action="store_true", help="with learner, gate and explorer beside it, as in the demo")
    parser.add_argument("--config", type=Path, help="YAML file to start from")
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    given = parser.parse_args()
    if given.smoke:
        given.pushes, given.robots = 1, 1
    folders = tempfile.TemporaryDirectory(prefix="floop-push-")
    with reserved_domain() as domain, reserved_base_port() as base_port, folders as folder:
        os.environ.update(local_environment(domain))
        config = msgspec.structs.replace(
            load_config(given.config),
            robots=given.robots,
            run_dir=str(Path(folder) / "run"),
            baseline=str(baseline("floop/Pick-v0")),
            endpoints=Endpoints(base_port=base_port),
        )
        met = measure(config, domain, given.pushes, given.pause, given.full)
        raise SystemExit(0 if met or given.smoke else 1)


if __name__ == "__main__":
    main()
