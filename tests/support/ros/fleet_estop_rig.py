"""A fleet manager, safety nodes, and what is heard of their e-stops: all real processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from std_srvs.srv import Trigger

from floop_interfaces import msg, srv
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED
from tests.support.operator_tokens import TOKEN, WHO
from tests.support.ros.fleet_rig import FleetRig
from tests.support.ros.robot_rig import NodeProcess
from tests.support.waiting import wait_for

START_S = 30.0


class EstopFleet:
    """Starts and harms the processes; everything else asks them."""

    def __init__(self, folder: Path, domain: int, robots: int = 2) -> None:
        self.rig = FleetRig(folder, domain, robots)
        self.robots = self.rig.config.robot_names
        peer = self.rig.peer
        self.heard = {r: peer.listen(msg.EstopState, f"/{r}/{topics.ESTOP_STATE}", LATCHED) for r in self.robots}
        self.safety: dict[str, NodeProcess] = {}
        self.manager = self.rig.start_manager()
        self.start(*self.robots)

    def start(self, *robots: str) -> None:
        """Start safety nodes and wait until they have spoken."""
        before = {r: len(self.heard[r]) for r in robots}
        for r in robots:
            self.launch(r)
        wait_for(lambda: all(len(self.heard[r]) > before[r] for r in robots), START_S, "the safety nodes")

    def launch(self, robot: str) -> None:
        """Start a safety node."""
        self.safety[robot] = self.rig.start("safety_node", f"/{robot}", "simulated:=true")

    def harm_manager(self, how: str) -> None:
        """Kill or freeze it."""
        self.manager.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)

    def mend_manager(self) -> None:
        """Let it run again; does not wait until it answers."""
        if self.manager.process.returncode is None and self.manager.process.poll() is None:
            self.manager.process.send_signal(signal.SIGCONT)
        else:
            self.manager = self.rig.start("fleet_manager_node", "/fleet")

    def restart_manager(self) -> None:
        """As after a SIGKILL."""
        self.manager.kill()
        self.manager = self.rig.start_manager()

    def freeze(self, robot: str, frozen: bool = True) -> None:
        """Stop a safety process, or let it go on."""
        os.kill(self.safety[robot].process.pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def state(self, robot: str) -> Any:
        """The newest state."""
        return self.heard[robot][-1]

    def next_states(self, robot: str, count: int = 2) -> list[Any]:
        """The next `count` states that a robot publishes."""
        before = len(self.heard[robot])
        wait_for(lambda: len(self.heard[robot]) >= before + count, 20.0, f"{count} more states of {robot}")
        return self.heard[robot][before:]

    def stop(self, *robots: str, **fields: str) -> Any:
        """The answer to a stop; empty: of all robots."""
        given = {"who": "visitor", "why": "smoke"} | fields
        return self.rig.ask(srv.StopFleet, topics.FLEET_STOP, robots=list(robots), **given)

    def trigger(self) -> Any:
        """The answer to a Trigger."""
        return self.rig.ask(Trigger, topics.FLEET_ESTOP_TRIGGER)

    def ref(self, robot: str, **other: str) -> Any:
        """What a person sees of a robot's stop now."""
        state = self.state(robot)
        return msg.EstopRef(**({"robot": robot, "stop_id": state.stop_id, "nonce": state.nonce} | other))

    def reset(self, *refs: Any, token: str = TOKEN) -> Any:
        """The answer to a fleet-wide reset, which is asked for once."""
        request = srv.ResetFleet.Request(stops=list(refs), who=WHO, token=token, why="aired")
        return self.rig.peer.call(srv.ResetFleet, topics.FLEET_RESET_ESTOP, request)

    def reset_all(self) -> None:
        """Let every robot move again: reset what is stopped, until nothing is."""

        def is_reset() -> bool:
            stopped = [r for r in self.robots if self.state(r).latched]
            if stopped:
                self.reset(*map(self.ref, stopped))
            return not stopped

        wait_for(is_reset, 30.0, "a reset of all robots")

    def pending(self) -> list[str]:
        """Robots whose stop is pending, as the fleet's state has it."""
        return [r.robot for r in self.rig.state().robots if r.stop_pending]

    def kept(self, robot: str) -> Path:
        """The file of a pending stop."""
        return Path(self.rig.config.run_dir) / "stops" / robot

    def close(self) -> None:
        self.rig.close()
