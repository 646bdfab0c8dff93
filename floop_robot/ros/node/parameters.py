"""Parameters of a node, with text, range and choices; a bad value or an unknown name is refused in one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from floop_robot.spec.errors import ConfigError, UnknownName

V = TypeVar("V", bool, int, float, str)

OF_EVERY_NODE: Final = ("use_sim_time", "start_type_description_service")
"""Parameters that ROS itself declares."""
QOS_OVERRIDES: Final = "qos_overrides."
NEEDS_RESTART: Final = "needs a restart: give it at the start of the node"


class Parameter(msgspec.Struct, Generic[V], frozen=True):
    """One parameter of a node; its type is that of the default."""

    name: str
    default: V
    text: str
    low: float | None = None
    """Smallest number allowed; give both ends or none."""
    high: float | None = None
    choices: tuple[str, ...] = ()
    """Words allowed; empty means any."""
    live: bool = False
    """A change takes effect while the node runs; otherwise it is refused."""

    def descriptor(self) -> ParameterDescriptor:
        """What ROS tools show and rclpy enforces."""
        found = ParameterDescriptor(description=self.text)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, int):
                limits = IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)
                found.integer_range = [limits]
            else:
                found.floating_point_range = [FloatingPointRange(from_value=self.low, to_value=self.high)]
        words = "one of: " + ", ".join(repr(c) for c in self.choices) if self.choices else ""
        # `read_only` would have rclpy refuse a change before this node can say that a restart is needed.
        found.additional_constraints = "; ".join(filter(None, (words, "" if self.live else "a change needs a restart")))
        return found

    def refusal(self, value: object) -> str:
        """Why `value` is not allowed, in one line that begins with the name; empty when it is."""
        if self._fits(value):
            return ""
        wanted = {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}[type(self.default)]
        if self.choices:
            wanted = f"one of {', '.join(repr(c) for c in self.choices)}"
        elif self.low is not None and self.high is not None:
            wanted += f" from {self.low:g} to {self.high:g}"
        return f"{self.name} is {value!r}; use {wanted}"

    def _fits(self, value: object) -> bool:
        if isinstance(self.default, bool | str):
            return isinstance(value, type(self.default)) and (not self.choices or value in self.choices)
        kinds = (int, float) if isinstance(self.default, float) else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            return False
        return self.low is None or self.high is None or self.low <= value <= self.high


class Parameters:
    """The declared parameters of a node; reads give the present value.

    Raises `ConfigError` for a bad start value, and `UnknownName` for a name that the node does not have: ROS would
    ignore it.
    """

    def __init__(
        self,
        node: Node,
        declared: Iterable[Parameter[Any]],
        *,
        on_change: Callable[[], None] = lambda: None,
        ignored: Iterable[str] = (),
    ) -> None:
        """`on_change` is called after `live` ones have changed. `ignored`: names that are meant for other nodes."""
        self._node = node
        self._declared = {p.name: p for p in declared}
        self._refuse_unknown(set(ignored))
        for parameter in self._declared.values():
            self._declare(parameter)
        node.add_on_set_parameters_callback(self._validate)
        node.add_post_set_parameters_callback(lambda changed: self._apply(changed, on_change))

    def get(self, parameter: Parameter[V]) -> V:
        """The present value of a declared parameter."""
        return type(parameter.default)(self._node.get_parameter(parameter.name).value)

    def _refuse_unknown(self, ignored: set[str]) -> None:
        known = {*self._declared, *OF_EVERY_NODE}
        for name in sorted(self._node._parameter_overrides):
            if name not in known | ignored and not name.startswith(QOS_OVERRIDES):
                raise UnknownName("parameter", name, known, self._node.get_fully_qualified_name())

    def _declare(self, parameter: Parameter[Any]) -> None:
        overrides = self._node._parameter_overrides
        if (given := overrides.get(parameter.name)) is not None:
            if refusal := parameter.refusal(given.value):
                raise ConfigError(f"{self._node.get_fully_qualified_name()}: parameter {refusal}")
            # ROS takes `1` for a whole number, also where a person means 1.0.
            overrides[parameter.name] = RosParameter(parameter.name, value=type(parameter.default)(given.value))
        elif refusal := parameter.refusal(parameter.default):
            raise ConfigError(f"parameter {refusal}")
        self._node.declare_parameter(parameter.name, parameter.default, parameter.descriptor())

    def _validate(self, wanted: Sequence[RosParameter]) -> SetParametersResult:
        for given in wanted:
            parameter = self._declared.get(given.name)
            if parameter is None:
                continue
            refusal = parameter.refusal(given.value)
            if not refusal and not parameter.live and given.value != self.get(parameter):
                refusal = f"{given.name} {NEEDS_RESTART}"
            if refusal:
                self._node.get_logger().warning(f"parameter refused: {refusal}")
                return SetParametersResult(successful=False, reason=refusal)
        return SetParametersResult(successful=True)

    def _apply(self, changed: Sequence[RosParameter], on_change: Callable[[], None]) -> None:
        for given in changed:
            if given.name in self._declared:
                self._node.get_logger().info(f"parameter {given.name} is now {given.value!r}")
        if any(given.name in self._declared for given in changed):
            on_change()
