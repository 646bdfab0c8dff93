"""What every manipulation task sees and says: the fields of observation and action, in SI units, base frame.

Legal ranges are tight: values are clipped to them, and a rare far-off number (an object that rolled away) would weigh
more in a network than everything that matters.

Only what a real arm and its perception have: proprioception, gripper width and effort, and the perceived object.
"""

from __future__ import annotations

from floop_robot.spec.layout import Field, Layout
from floop_robot.spec.scenario import OBJECT_CLASSES

POLICY_RATE_HZ = 12.5
"""Policy steps per second: four servo ticks of 50 Hz. The one home of the rate; benchmarks compare others."""
TCP_SPEED_M_S = 0.5
"""Speed along one axis at action 1: 4 cm per step at 12.5 Hz."""
YAW_SPEED_RAD_S = 2.0
"""Turning speed at action 1: below what the last joint may do (2.4 rad/s)."""

CONTEXT_SIZE = 4


def _field(name: str, size: int, unit: str, meaning: str, span: float, **more: float | str) -> Field:
    """Field whose legal range is ±`span`, unless `more` says otherwise."""
    parts: dict[str, float | str] = {"low": -span, "high": span, **more}
    return Field(name=name, size=size, unit=unit, meaning=meaning, **parts)  # type: ignore[arg-type]


_SENSED: tuple[Field, ...] = (
    _field("tcp_x", 1, "m", "measured TCP position, forward", 1.2, frame="base", offset=0.5, scale=0.15),
    _field("tcp_y", 1, "m", "measured TCP position, left", 1.2, frame="base", scale=0.15),
    _field("tcp_z", 1, "m", "measured TCP position, up", 1.2, frame="base", offset=0.12, scale=0.12),
    _field("tcp_velocity", 3, "m/s", "measured TCP velocity", 1.5, frame="base", scale=0.3),
    _field("object_from_tcp", 3, "m", "perceived object centre minus TCP", 0.6, frame="base", scale=0.1),
    _field("yaw_difference", 2, "1", "sin, cos of twice (object yaw minus gripper yaw)", 1.0),
    _field("gripper_width", 1, "m", "distance between the fingers", 0.12, low=0.0, offset=0.04, scale=0.03),
    _field("gripper_effort", 1, "N", "force the fingers press with", 40.0, low=0.0, offset=10.0, scale=10.0),
    _field("object_height", 1, "m", "perceived object centre above the table", 0.6, low=0.0, offset=0.06, scale=0.06),
    # Wide scales for size and class: a policy meets sizes and classes that it was never trained on, and must go on
    # from what it knows of others instead of being thrown off by inputs far outside their range.
    _field("object_size", 3, "m", "perceived full extents, object axes", 0.3, low=0.0, offset=0.05, scale=0.1),
    _field(
        "object_class", len(OBJECT_CLASSES), "1", f"one-hot of {', '.join(OBJECT_CLASSES)}", 1.0, low=0.0, scale=4.0
    ),
    _field("tracking_error", 3, "m", "commanded TCP target minus measured TCP", 0.1, frame="base", scale=0.03),
    _field("previous_action", 5, "1", "action executed in the previous step", 1.0),
    _field("context", CONTEXT_SIZE, "1", "reserved: what tells robots apart that see the same; zeros", 10.0),
)

PICK_OBSERVATION = Layout(fields=_SENSED)
PLACE_OBSERVATION = Layout(
    fields=(
        *_SENSED,
        _field("tote_from_object", 3, "m", "tote centre on the table minus object", 0.6, frame="base", scale=0.15),
        # A square tote looks the same after a quarter turn. With `yaw_difference` this also tells how the gripper is
        # turned against it.
        _field("yaw_in_tote", 2, "1", "sin, cos of four times (object yaw minus tote yaw)", 1.0),
    )
)
ACTION = Layout(
    fields=(
        _field("tcp_delta", 3, "1", f"TCP target speed along each axis, 1 = {TCP_SPEED_M_S:g} m/s", 1.0, frame="base"),
        _field("yaw_delta", 1, "1", f"gripper target turning speed, 1 = {YAW_SPEED_RAD_S:g} rad/s", 1.0, frame="base"),
        _field("gripper", 1, "1", "desired width: -1 closed, 1 open, linear between", 1.0),
    )
)
