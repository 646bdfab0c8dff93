"""One robot as all its node processes, with its fleet manager: what may be done to it while it is stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import JointState

from floop_interfaces import msg, srv
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED
from tests.support.ros.estop_calls import reset_robot
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import NodeProcess, RobotRig
from tests.support.ros.safety_rig import ALL, name
from tests.support.waiting import wait_for

MOTION_RAD = 1e-3
"""Joints that moved by less stand: the simulated arm sags by a tenth of that under load."""


class WholeRobot:
    """Simulated arm, safety, policy and fleet manager, running; use as a context manager."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.rig, self.peer = RobotRig(folder, domain), Peer(domain)
        self.modes = self.peer.listen(msg.SafetyStatus, name(topics.SAFETY_STATUS), ALL)
        self.joints = self.peer.listen(JointState, name(topics.JOINT_STATES), ALL)
        self.policies = self.peer.listen(msg.PolicyStatus, name(topics.POLICY_STATUS), LATCHED)
        self.rig.start_arm()
        manager = ["-r", "__ns:=/fleet", "-p", f"config:={self.rig.config_file}"]
        self.rig.nodes["manager"] = NodeProcess("fleet_manager_node", manager, domain, self.rig.run_dir / "fleet.log")
        self.rig.start("policy_node", "autostart:=true")

    def ask(self, kind: Any, topic: str, request: Any) -> Any:
        """Call until answered: what a killed server left behind swallows calls."""
        deadline = time.monotonic() + 30.0
        while True:
            try:
                return self.peer.result(self.peer.send(kind, topic, request), 2.0)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def do(self, deed: str, i: int) -> None:
        """Whatever must not release a stop."""
        match deed:
            case "restart":
                module = ("safety_node", "policy_node")[i % 2]
                self.rig.nodes[module].kill()
                heard = len(self.modes)
                self.rig.start_again(module)
                wait_for(lambda: len(self.modes) > heard + 25)
                if module == "policy_node":
                    self.policies.clear()
                    wait_for(lambda: self.policies and self.policies[-1].version > 0)
            case "push":
                request = srv.PushPolicy.Request(version=1, who="ann", why="latch", call_id=str(i))
                self.arrived(self.ask(srv.PushPolicy, topics.PUSH_POLICY, request))
            case "rollback":
                request = srv.RollbackPolicy.Request(to_version=1, who="ann", why="latch", call_id=str(i))
                self.arrived(self.ask(srv.RollbackPolicy, topics.ROLLBACK_POLICY, request))
            case "activate":
                for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
                    request = ChangeState.Request(transition=Transition(id=transition))
                    assert self.ask(ChangeState, name("policy_node/change_state"), request).success

    def arrived(self, answer: Any) -> None:
        """Wait until the robot has what was pushed."""
        assert answer.success, answer.message
        wait_for(lambda: self.policies and self.policies[-1].incoming_version >= answer.version)

    def stop(self) -> None:
        """E-stop, once it works; then wait until the arm itself is at rest."""
        wait_for(lambda: self.modes and self.modes[-1].mode == "following", 60.0)
        assert self.ask(srv.StopRobot, name(topics.STOP), srv.StopRobot.Request(who="ann")).success
        wait_for(lambda: self.modes[-1].mode == "estop")
        heard = len(self.joints)
        wait_for(lambda: len(self.joints) > heard + 50)
        self._still, self._seen, self._since = self.joints[-1].position, len(self.joints), len(self.modes)

    def moved(self) -> bool:
        """Whether the arm left the place it was stopped in, since the last call."""
        new = list(self.joints)[self._seen :]
        self._seen += len(new)
        return any(abs(a - b) > MOTION_RAD for m in new for a, b in zip(m.position, self._still, strict=True))

    def other_modes(self) -> set[str]:
        """What safety was at since the stop, but stopped."""
        return {m.mode for m in list(self.modes)[self._since :]} - {"estop"}

    def release(self) -> None:
        """Reset, and wait until it works again."""
        assert reset_robot(self.peer).success
        wait_for(lambda: self.modes[-1].mode == "following", 60.0)

    def __enter__(self) -> WholeRobot:
        return self

    def __exit__(self, *_: object) -> None:
        self.rig.close()
        self.peer.close()
