"""ObservationReader: what an environment observes, compared with its declared space, and as one vector.

The order of the vector is that of stable-baselines3: the keys of a Dict in the order of the space, a matrix row by row,
an image with its channels first, a Discrete value as one-hot. So a model on this vector is a stock model, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from floop_robot.spec.errors import ConfigError
from floop_robot.spec.layout import Vector

MIN_CNN_SIDE = 36
"""Pixels in height and width that stable-baselines3's NatureCNN needs."""
LARGEST = 1e15
"""Of an observation or a reward. Squares of more are no float32, so nothing could be learned from them."""
Space = spaces.Space[Any]
Value = NDArray[Any]
Observation = Value | dict[str, Value]
"""As the environment's space has it; each array has the space's shape and dtype."""


class ObservationFault(ValueError):
    """An observation that the declared space does not allow, or that can't be learned from; names the field."""


class ObservationReader:
    """Reads the observations of one space."""

    def __init__(self, space: Space, env_id: str = "the environment") -> None:
        """Raises `ConfigError` for a space that stable-baselines3 can't train on either."""
        self.space = space
        self.parts: dict[str, Space] = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
        for key, part in self.parts.items():
            if reason := _unfit(part, key):
                raise ConfigError(f"{env_id} observes {_title(key)} {reason}")
        if not self.parts:
            raise ConfigError(f"{env_id} observes an empty Dict; give it a Box")
        sizes = [vector_size(part) for part in self.parts.values()]
        starts = np.cumsum([0, *sizes]).tolist()
        self.slices = {key: slice(a, b) for key, a, b in zip(self.parts, starts, starts[1:], strict=False)}
        """Where each key of a Dict stands in the vector; the key of anything else is empty."""
        self.size = starts[-1]

    @property
    def needs_cnn(self) -> bool:
        """Whether there is an image that is learned from by convolutions."""
        return any(is_cnn_image(part) for part in self.parts.values())

    @property
    def stock_space(self) -> Space:
        """The space as stable-baselines3 writes it into a model: an image has its channels first."""
        if not is_image(self.space) or not is_channels_last(self.space.shape or ()):
            return self.space
        return spaces.Box(0, 255, _channels_first(self.space.shape or ()), np.uint8)

    def read(self, observation: object) -> Observation:
        """The observation in the shapes and dtypes of its space; raises `ObservationFault`."""
        if not isinstance(self.space, spaces.Dict):
            return _read(self.space, observation, "observation")
        if not isinstance(observation, dict):
            raise ObservationFault(f"observation is {type(observation).__name__}, its space is a Dict")
        if missing := self.parts.keys() - observation.keys():
            raise ObservationFault(f"observation lacks {sorted(missing)[0]!r}, which its space has")
        return {key: _read(part, observation[key], f"observation[{key!r}]") for key, part in self.parts.items()}

    def flatten(self, observation: Observation) -> Vector:
        """What `read` returned as one vector, shape (size,)."""
        if not isinstance(observation, dict):
            return _flat(self.space, observation)
        return np.concatenate([_flat(part, observation[key]) for key, part in self.parts.items()])

    def bounds(self) -> Iterator[tuple[str, Vector, Vector, bool]]:
        """Of each part: name, low and high of its values in the vector, whether it is an image."""
        for key, part in self.parts.items():
            low, high = _flat_bounds(part)
            yield str(key) or "observation", low, high, is_image(part)


def is_image(space: Space) -> bool:
    """stable-baselines3's rule: three dimensions of uint8 from 0 to 255."""
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) == 3
        and space.dtype == np.uint8
        and bool((space.low == 0).all() and (space.high == 255).all())
    )


def is_cnn_image(space: Space) -> bool:
    """Whether an image is large enough for stable-baselines3's convolutions."""
    return is_image(space) and min(_channels_first(space.shape or ())[1:]) >= MIN_CNN_SIDE


def is_channels_last(shape: tuple[int, ...]) -> bool:
    """stable-baselines3's rule: the smallest dimension is that of the channels."""
    return int(np.argmin(shape)) != 0


def vector_size(space: Space) -> int:
    """How many numbers of the vector a value takes."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return int(np.prod(space.shape or ()))


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], *shape[:2]) if is_channels_last(shape) else shape


def _title(key: str) -> str:
    return f"{key!r}:" if key else "a"


def _unfit(space: Space, key: str) -> str:
    """Why a space can't be trained on, with the cure; empty when it can."""
    if isinstance(space, spaces.Box):
        if space.dtype is None or space.dtype.kind not in "fiu":
            return f"Box of {space.dtype}; use float32"
        if not vector_size(space):
            return f"Box of shape {space.shape}, which holds nothing; leave it out"
        if key and is_image(space) and not is_cnn_image(space):
            small = (
                f"image of shape {space.shape}; stable-baselines3's CNN needs {MIN_CNN_SIDE} × {MIN_CNN_SIDE} pixels"
            )
            return f"{small}; resize it, or declare it as a flat Box"
        return ""
    if isinstance(space, spaces.Discrete):
        return "" if space.start == 0 else f"Discrete that starts at {space.start}; start at 0"
    if isinstance(space, spaces.MultiDiscrete):
        is_plain = len(space.shape) == 1 and not np.any(space.start)
        return "" if is_plain else "MultiDiscrete of more than one dimension, or with a start; flatten it, start at 0"
    if isinstance(space, spaces.MultiBinary):
        return ""
    cure = "wrap the environment in gymnasium.wrappers.FlattenObservation"
    return (
        f"{type(space).__name__}; floop train takes Box, Dict of Box, Discrete, MultiDiscrete and MultiBinary; {cure}"
    )


def _read(space: Space, value: object, field: str) -> Value:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ObservationFault(f"{field} is ragged; its space has shape {space.shape}") from None
    if array.dtype.kind not in "biuf":
        raise ObservationFault(f"{field} is {type(value).__name__} of {array.dtype}; its space holds {space.dtype}")
    if array.size == np.prod(space.shape or ()) == 1:
        array = array.reshape(space.shape)  # a number in an array of one, or the other way round
    if array.shape != space.shape:
        raise ObservationFault(f"{field} has shape {array.shape}, its space says {space.shape}")
    if array.dtype.kind == "f" or array.dtype.itemsize == 8:
        # Compared as float64: 1e15 is no float16, and the absolute value of the least int64 is no int64.
        is_fit = (array >= -np.float64(LARGEST)) & (array <= np.float64(LARGEST))
        if not is_fit.all():
            raise ObservationFault(_too_large(array, is_fit, field))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        most = space.n if isinstance(space, spaces.Discrete) else space.nvec
        if (array < 0).any() or (array >= most).any():
            raise ObservationFault(f"{field} is {array.tolist()}, its space says {space}")
    out: Value = array.astype(space.dtype, copy=True)  # the environment may go on writing into its own
    return out


def _too_large(array: Value, is_fit: NDArray[np.bool_], field: str) -> str:
    place = np.argwhere(~is_fit)[0].tolist()
    at = f"[{', '.join(map(str, place))}]" if place else ""
    return f"{field}{at} is {float(array[tuple(place)]):g}"


def _flat(space: Space, value: Value) -> Vector:
    if isinstance(space, spaces.Discrete):
        return _one_hot(int(space.n), int(value))
    if isinstance(space, spaces.MultiDiscrete):
        return np.concatenate([_one_hot(int(n), int(v)) for n, v in zip(space.nvec, value, strict=True)])
    if is_image(space) and is_channels_last(value.shape):
        value = np.moveaxis(value, -1, 0)
    flat: Vector = np.asarray(value, np.float32).reshape(-1)
    return flat


def _one_hot(size: int, value: int) -> Vector:
    out = np.zeros(size, np.float32)
    out[value] = 1.0
    return out


def _flat_bounds(space: Space) -> tuple[Vector, Vector]:
    if not isinstance(space, spaces.Box):
        return np.zeros(vector_size(space), np.float32), np.ones(vector_size(space), np.float32)
    low, high = np.where(space.bounded_below, space.low, -np.inf), np.where(space.bounded_above, space.high, np.inf)
    with np.errstate(over="ignore"):  # bounds that no float32 holds are none
        return _flat(space, low), _flat(space, high)
