"""PlainInfo: what an environment tells beside its observations, as far as another process can read it.

An info may hold a lock, a simulator's handle or an object of the user's module. The process that learns can't take
these over, and must not import what they come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import gymnasium
import numpy as np

from floop_robot.train.environments.error_place import one_line

MAX_DEPTH: Final = 16
"""Of values in values; some info holds itself."""
_SCALARS: Final = (type(None), bool, int, float, complex, str, bytes)
Info = dict[str, Any]


class PlainInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose `info` holds numbers, texts, arrays, and lists, tuples and dicts of them."""

    def reset(self, **named: Any) -> tuple[Any, Info]:
        """As the environment's."""
        observation, info = self.env.reset(**named)
        return observation, plain_part(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Info]:
        """As the environment's."""
        *rest, info = self.env.step(action)
        return (*rest, plain_part(info))


def plain_part(info: Info) -> Info:
    """The entries that another process can read."""
    return {key: value for key, value in info.items() if is_plain((key, value))}


def left_out(infos: Iterable[Info]) -> str:
    """A line about what another process can't read, empty where there is nothing; success is read before."""
    kinds = {key: type(info[key]).__name__ for info in infos for key in info.keys() - plain_part(info).keys()}
    kinds.pop("is_success", None)
    if not kinds:
        return ""
    named = one_line(", ".join(f"info[{key!r}] ({kind})" for key, kind in sorted(kinds.items(), key=str)), 300)
    return (
        f"{named} cannot be read in another process; callbacks see an info's numbers, texts, arrays, and lists, "
        "tuples and dicts of them"
    )


def is_plain(value: object, depth: int = MAX_DEPTH) -> bool:
    """Whether it is made of types that Python and numpy bring along; none of a subclass is."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is np.ndarray or isinstance(value, np.generic):
        return not value.dtype.hasobject  # type: ignore[attr-defined]
    if depth == 0:
        return False
    if isinstance(value, dict) and kind is dict:
        return all(is_plain(item, depth - 1) for item in value.items())
    return isinstance(value, list | tuple) and kind in (list, tuple) and all(is_plain(v, depth - 1) for v in value)
