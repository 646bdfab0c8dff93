"""Parameters of a node: declared with text, range and read-only flag; a bad value is refused in one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterException, InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from floop_robot.spec.errors import ConfigError

V = TypeVar("V", bool, int, float, str)


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
    read_only: bool = True
    formerly: str = ""
    """An earlier name. Whoever still sets it is told the present one, since ROS ignores unknown parameters."""

    def descriptor(self) -> ParameterDescriptor:
        """What ROS tools show and rclpy enforces."""
        found = ParameterDescriptor(description=self.text, read_only=self.read_only)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, int):
                limits = IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)
                found.integer_range = [limits]
            else:
                found.floating_point_range = [FloatingPointRange(from_value=self.low, to_value=self.high)]
        if self.choices:
            found.additional_constraints = "one of: " + ", ".join(repr(c) for c in self.choices)
        return found

    def refusal(self, value: object) -> str:
        """Why `value` is not allowed; empty when it is."""
        if self.choices and value not in self.choices:
            return f"{self.name} is {value!r}; use one of {', '.join(repr(c) for c in self.choices)}"
        return ""


class Parameters:
    """The declared parameters of a node; reads give the present value. Raises `ConfigError` for a bad start value."""

    def __init__(self, node: Node, declared: Iterable[Parameter[Any]]) -> None:
        self._node = node
        self._declared = {p.name: p for p in declared}
        for parameter in self._declared.values():
            self._declare(parameter)
        node.add_on_set_parameters_callback(self._validate)

    def get(self, parameter: Parameter[V]) -> V:
        """The present value of a declared parameter."""
        return type(parameter.default)(self._node.get_parameter(parameter.name).value)

    def _declare(self, parameter: Parameter[Any]) -> None:
        if parameter.formerly and parameter.formerly in self._node._parameter_overrides:
            words = f" ({' or '.join(repr(c) for c in parameter.choices)})" if parameter.choices else ""
            raise ConfigError(f"parameter {parameter.formerly} is now {parameter.name}{words}; rename it")
        try:
            found = self._node.declare_parameter(parameter.name, parameter.default, parameter.descriptor())
        except InvalidParameterTypeException:
            kind = type(parameter.default).__name__
            raise ConfigError(f"parameter {parameter.name} must be a {kind}: {parameter.text}") from None
        except (InvalidParameterException, InvalidParameterValueException):
            span = f" from {parameter.low:g} to {parameter.high:g}" if parameter.low is not None else ""
            raise ConfigError(f"parameter {parameter.name} is not allowed; give a value{span}") from None
        if refusal := parameter.refusal(found.value):
            raise ConfigError(f"parameter {refusal}")

    def _validate(self, wanted: Sequence[RosParameter]) -> SetParametersResult:
        for parameter in wanted:
            declared = self._declared.get(parameter.name)
            if declared is not None and (refusal := declared.refusal(parameter.value)):
                return SetParametersResult(successful=False, reason=refusal)
        return SetParametersResult(successful=True)
