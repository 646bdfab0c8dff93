"""Stops and resets as an operator sends them who has just looked at the latch."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.messages import ResetCommand, StopCommand


def stop(who: str = "ann", **more: Any) -> StopCommand:
    return StopCommand(who=who, **more)


def reset_of(latch: EstopLatch, who: str = "ann", **changes: Any) -> ResetCommand:
    """The reset of the stop that holds now."""
    state = latch.state()
    return structs.replace(ResetCommand(who=who, stop_id=state.stop_id, nonce=state.nonce), **changes)
