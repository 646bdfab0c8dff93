"""Types of configuration values: each names what a user may write."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Positive = Annotated[float, Meta(gt=0, le=1e6)]
"""Finite, since timers cannot wait for infinity; a million seconds fit into every timer as milliseconds."""
NotNegative = Annotated[float, Meta(ge=0, le=1e6)]
Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
"""A fraction that must not be 0."""
Count = Annotated[int, Meta(ge=0)]
Size = Annotated[int, Meta(ge=1)]
Device = Literal["auto", "cpu", "cuda"]
"""Where gradient steps are computed; `auto` takes a GPU where there is one and the networks are large."""
