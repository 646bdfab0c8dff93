"""Options of all commands that take a stable-baselines3 zip where they take a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def zip_options(function: F) -> F:
    """Add `--trust` and `--vecnormalize`."""
    trust = click.option(
        "--trust", is_flag=True, help="Allow a stable-baselines3 zip, which can run any code when it is read."
    )
    vecnormalize = click.option(
        "--vecnormalize",
        type=click.Path(path_type=Path),
        default=None,
        metavar="FILE",
        help="Statistics of the zip's observations, as VecNormalize.save wrote them; read like the zip.",
    )
    return trust(vecnormalize(function))
