"""Messages as the numbers in them: packed and unpacked in one step each, past ROS's own conversion.

ROS makes a Python object of each message and of each part of it. That costs 0.1 to 0.2 ms a message in a process that
sleeps between two ticks. Messages that pass at servo rate have the same strings and lengths in each tick, so that only
numbers change, at fixed places. The format is little-endian XCDR1 (OMG DDS-XTypes 1.3, 7.4.3), as ROS middlewares send.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

from rclpy.serialization import deserialize_message, serialize_message
from rosidl_parser.definition import AbstractSequence, AbstractString, Array, BasicType, NamespacedType

_CODES: Final = {
    "boolean": "?", "octet": "B", "uint8": "B", "int8": "b", "uint16": "H", "int16": "h", "uint32": "I", "int32": "i",
    "uint64": "Q", "int64": "q", "float": "f", "double": "d",
}  # fmt: skip
_HEADER_BYTES: Final = 4
_LITTLE_ENDIAN: Final = b"\x00\x01"
MAX_SHAPES: Final = 32
"""Shapes remembered of one topic. A shape is a set of strings and lengths, and few are in use at a time."""


class CdrLayout:
    """Where the numbers lie in messages with the strings and sequence lengths of one message."""

    def __init__(self, message: Any) -> None:
        """Raises ValueError for a type with wide strings, or where a middleware uses another format."""
        self.message = message
        """Has the strings; its numbers mean nothing."""
        self._at: dict[str, int | slice] = {}
        self._offsets: list[int] = []
        self._codes: list[str] = []
        self._spans = [(0, len(_LITTLE_ENDIAN))]
        self._end = _HEADER_BYTES
        self._walk(message, "")
        self._data = bytes(serialize_message(message))[: self._end]  # what follows is no part of it
        self._runs = list(self._find_runs())
        # Padding is left out: senders leave anything in it. So are two bytes of options, which mean nothing here.
        self._constants = [self._data[start:end] for start, end in self._spans]
        if self._data[:2] != _LITTLE_ENDIAN or len(self._data) < self._end:
            raise ValueError(f"{type(message).__name__} is not serialised as little-endian XCDR1")

    def __getitem__(self, path: str) -> int | slice:
        """Where the numbers of a field are, by its path, as in `header.stamp` or `points.0.positions`."""
        return self._at[path]

    def pack(self, *numbers: float) -> bytes:
        """A message with these numbers, in the order of its fields."""
        data, start = bytearray(self._data), 0
        for packer, offset, count in self._runs:
            packer.pack_into(data, offset, *numbers[start : start + count])
            start += count
        if start != len(numbers):
            raise ValueError(f"{len(numbers)} numbers for a {type(self.message).__name__} of {start}")
        return bytes(data)

    @property
    def numbers(self) -> tuple[Any, ...]:
        """Those of the message that the layout was made from."""
        numbers = self.unpack(self._data)
        assert numbers is not None
        return numbers

    def unpack(self, data: bytes) -> tuple[Any, ...] | None:
        """The numbers of a message, in the order of its fields; None when its strings or lengths are others."""
        if len(data) < self._end or not self._has_constants(data):
            return None
        numbers: tuple[Any, ...] = ()
        for packer, offset, _ in self._runs:
            numbers += packer.unpack_from(data, offset)
        return numbers

    def _has_constants(self, data: bytes) -> bool:
        return [data[start:end] for start, end in self._spans] == self._constants

    def _walk(self, message: Any, prefix: str) -> None:
        start = len(self._codes)
        fields = zip(message.get_fields_and_field_types(), message.SLOT_TYPES, strict=True)
        for name, kind in fields:
            self._add(f"{prefix}{name}", kind, getattr(message, name))
        if prefix:
            self._at[prefix[:-1]] = slice(start, len(self._codes))

    def _add(self, path: str, kind: Any, value: Any) -> None:
        if isinstance(kind, BasicType):
            self._at[path] = len(self._codes)
            self._add_number(kind)
        elif isinstance(kind, AbstractString):
            self._add_constant(4 + len(value.encode()) + 1)
        elif isinstance(kind, NamespacedType):
            self._walk(value, f"{path}.")
        elif isinstance(kind, AbstractSequence | Array):
            if isinstance(kind, AbstractSequence):
                self._add_constant(4)
            start = len(self._codes)
            for i, element in enumerate(value):
                self._add(f"{path}.{i}", kind.value_type, element)
            self._at[path] = slice(start, len(self._codes))
        else:
            raise ValueError(f"{path} has a type without a layout: {kind}")

    def _add_number(self, kind: BasicType) -> None:
        code = _CODES[kind.typename]
        size = struct.calcsize(f"<{code}")
        self._align(size)
        self._offsets.append(self._end)
        self._codes.append(code)
        self._end += size

    def _add_constant(self, size: int) -> None:
        """The length of a string or sequence, and the string itself."""
        self._align(4)
        self._spans.append((self._end, self._end + size))
        self._end += size

    def _align(self, size: int) -> None:
        self._end += -(self._end - _HEADER_BYTES) % size

    def _find_runs(self) -> Iterator[tuple[struct.Struct, int, int]]:
        """Numbers without a gap between them: how to pack them, where they begin, and how many they are."""
        first = 0
        for i in range(1, len(self._codes) + 1):
            before = self._offsets[i - 1] + struct.calcsize(f"<{self._codes[i - 1]}")
            if i == len(self._codes) or self._offsets[i] != before:
                yield struct.Struct("<" + "".join(self._codes[first:i])), self._offsets[first], i - first
                first = i


class CdrMessage:
    """The numbers of one message, by the path of their field; strings are in `layout.message`."""

    __slots__ = ("layout", "numbers")

    def __init__(self, layout: CdrLayout, numbers: tuple[Any, ...]) -> None:
        self.layout, self.numbers = layout, numbers

    def __getitem__(self, path: str) -> Any:
        """A number, or a tuple of them where the field has several."""
        return self.numbers[self.layout[path]]


class CdrReader:
    """Reads messages of one type. Those of a new shape take ROS's own conversion once."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._layouts: list[CdrLayout] = []

    def read(self, data: bytes) -> CdrMessage:
        """The message; raises ValueError where `data` is none.

        What is written in another way than ROS does it here (big-endian, text that is no UTF-8) is converted by ROS.
        """
        for i, layout in enumerate(self._layouts):
            if (numbers := layout.unpack(data)) is not None:
                if i:
                    self._layouts.insert(0, self._layouts.pop(i))
                return CdrMessage(layout, numbers)
        try:
            message = deserialize_message(data, self._kind)
            layout = CdrLayout(message)
        except RuntimeError as error:  # of the middleware
            raise ValueError(f"not a {self._kind.__name__}: {error}") from None
        if (numbers := layout.unpack(data)) is None:
            return CdrMessage(layout, layout.numbers)
        self._layouts = [layout, *self._layouts[: MAX_SHAPES - 1]]
        return CdrMessage(layout, numbers)


class CdrWriter:
    """Packs messages of one type. A caller names each shape, and gives a message of it when it is new."""

    def __init__(self) -> None:
        self._layouts: dict[Hashable, CdrLayout] = {}

    def write(self, shape: Hashable, example: Callable[[], Any], numbers: tuple[float, ...]) -> bytes:
        """A message with the strings of `shape` and these numbers; `example` makes any message of that shape."""
        layout = self._layouts.get(shape)
        if layout is None:
            if len(self._layouts) >= MAX_SHAPES:
                self._layouts.clear()
            layout = self._layouts[shape] = CdrLayout(example())
        return layout.pack(*numbers)
