"""DrainState: whether one robot works, and how it stands; joins the words of fleet manager, people beside it and its own."""

from __future__ import annotations

from pathlib import Path

from floop_robot.durable.files import write_atomic
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.loop_interface import LoopView
from floop_robot.robot.policy_loop import PolicyLoop
from floop_robot.spec.errors import StorageError


class DrainState:
    """What `rollout.RobotWork` asks for, and more. From any thread; nothing here waits but `drain`, for the disk.

    A robot starts no episode while the fleet manager drained it, while somebody beside it did, or while it is on hold.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` keeps the word of people beside the robot over restarts; the fleet manager's is kept elsewhere."""
        self._path = folder / "drained_here"
        self._control: PolicyLoop | None = None
        self.by_fleet_manager = False
        """The fleet manager's last word was to drain."""
        self.by_local_operator = self._path.exists()
        """Somebody beside the robot drained it."""
        self.hold = ""
        """Why the robot waits for a new word before it asks for another episode; empty when it does not."""

    def attach(self, control: PolicyLoop | None) -> None:
        """The loop that works from now on; None: none does."""
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
        """It starts no episode until it is told to work again."""
        return self.by_fleet_manager or self.by_local_operator

    @property
    def estop(self) -> bool:
        """Its stop latch is set, as far as safety says."""
        return self.view.estop

    @property
    def pause(self) -> str:
        """Why it starts no episode, in words; empty when it would."""
        if self.by_fleet_manager:
            return "drained by the fleet manager (/fleet/drain_robot)"
        if self.by_local_operator:
            return "drained here (drain)"
        return self.hold

    def set_drain(self, drain: bool) -> None:
        """The fleet manager's word."""
        self.by_fleet_manager = drain
        self.apply()

    def drain(self, drain: bool) -> None:
        """The word of somebody beside the robot; kept durably. Raises `StorageError` when that fails."""
        if drain:
            self.by_local_operator = True  # first of all: it must hold even if the disk does not
            self.apply()
            write_atomic(self._path, b"by somebody beside the robot\n")
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {self._path}: {error.strerror}; remove it by hand") from None
        self.by_local_operator, self.hold = False, ""
        self.apply()

    def set_hold(self, why: str) -> None:
        """Ask for no other episode until somebody does; empty: go on."""
        self.hold = why
        self.apply()

    def apply(self) -> None:
        """Let the control loop know."""
        if self._control is not None:
            self._control.accepts_episodes = not self.pause
