"""ControllerState: what the deployment controller counted, as the registry keeps it."""

from __future__ import annotations

import msgspec

from floop_robot.deploy.deployment_monitor import LiveState, LiveStatistics, WatchState
from floop_robot.deploy.registry import VersionHistory
from floop_robot.durable.framing import deframe


class ControllerState(msgspec.Struct, array_like=True):
    """What the controller counted, as plain values."""

    live: LiveState
    watch: WatchState | None
    watched: tuple[int, int]
    promoted_at: int
    canary: WatchState | None


def live_of(history: VersionHistory) -> LiveStatistics:
    """The live success of all versions, as far as the registry tells; nothing where another floop wrote it."""
    body, live = deframe(history.summary), LiveStatistics()
    if body is not None:
        try:
            state = msgspec.msgpack.decode(body, type=ControllerState)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return live
        live = LiveStatistics.from_state(state.live, 0)
    for episode in history.episodes:
        live.observe(history.weights.get(episode.version, ""), episode)
    return live
