"""DrainState: whether one robot may start episodes, and who drained it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from floop_robot.durable.files import write_atomic
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.loop_interface import LoopView
from floop_robot.robot.policy_loop import PolicyLoop
from floop_robot.spec.errors import StorageError

FLEET_FILE: Final = "drained"
LOCAL_FILE: Final = "drained_here"


class DrainState:
    """Joins the drains of the fleet manager and of a local operator, and the hold of this process.

    A robot starts no episode while it is drained by either, on hold, or refused by the fleet manager. Both drains are
    kept on disk: a drained robot that is restarted is still drained. From any thread; only the two `set_…_drain` wait,
    for the disk.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` holds one file per drain."""
        self._fleet_path, self._local_path = folder / FLEET_FILE, folder / LOCAL_FILE
        self._control: PolicyLoop | None = None
        self.by_fleet_manager = self._fleet_path.exists()
        """The fleet manager drained the robot."""
        self.by_local_operator = self._local_path.exists()
        """Somebody at the robot drained it."""
        self.hold = ""
        """Why the robot is on hold; empty when it is not."""
        self.name_refused = ""
        """Why the fleet manager refuses the robot's name; empty when it does not."""

    def attach(self, control: PolicyLoop | None) -> None:
        """Apply to this control loop from now on; None: no loop runs."""
        self._control = control
        self.apply()

    @property
    def view(self) -> LoopView:
        """What the control loop did in its last step."""
        control = self._control
        return control.interface.view if control is not None else LoopView()

    @property
    def idle(self) -> bool:
        """No episode runs."""
        return self.view.state is not EpisodeState.RUNNING

    @property
    def drained(self) -> bool:
        """The fleet manager or a local operator drained it."""
        return self.by_fleet_manager or self.by_local_operator

    @property
    def estop(self) -> bool:
        """The e-stop latch is set, as the safety process last reported."""
        return self.view.estop

    @property
    def pause_reason(self) -> str:
        """Why it starts no episode, in words; empty when it may."""
        if self.name_refused:
            return self.name_refused
        if self.by_fleet_manager:
            return "drained by the fleet manager (/fleet/drain_robot)"
        if self.by_local_operator:
            return "drained here (drain)"
        return self.hold

    def set_fleet_drain(self, drain: bool) -> None:
        """The fleet manager drains the robot, or ends its drain.

        It takes effect even when the disk fails; then this raises `StorageError`, and a restart would forget it.
        """
        self.by_fleet_manager = drain
        self.apply()
        if drain:
            write_atomic(self._fleet_path, b"by command of the fleet manager\n")
        else:
            _remove(self._fleet_path)

    def set_local_drain(self, drain: bool) -> None:
        """A local operator drains the robot, or ends that drain and any hold.

        Raises `StorageError` when the disk fails. The robot is drained all the same, and stays drained.
        """
        if drain:
            self.by_local_operator = True  # before the disk is asked
            self.apply()
            write_atomic(self._local_path, b"by somebody beside the robot\n")
            return
        _remove(self._local_path)
        self.by_local_operator, self.hold = False, ""
        self.apply()

    def set_hold(self, why: str) -> None:
        """Start no further episode until the hold ends; empty ends it."""
        self.hold = why
        self.apply()

    def set_name_refused(self, why: str) -> None:
        """Start no further episode under this name; empty: it may."""
        self.name_refused = why
        self.apply()

    def apply(self) -> None:
        """Tell the control loop whether it may start episodes."""
        if self._control is not None:
            self._control.accepts_episodes = not self.pause_reason


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}; remove it by hand") from None
