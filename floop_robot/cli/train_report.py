"""What `floop train` prints at its end: the figures of one training, or a table of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from floop_robot.train.seed_runs import SeedsResult


def report(result: msgspec.Struct) -> str:
    """The figures of a training that it has, one a line; of several, one a column."""
    if type(result).__name__ == "SeedsResult":
        return _table(result)  # type: ignore[arg-type]  # imported by name: its module has torch
    shown = msgspec.to_builtins(result).items()
    return "\n".join(f"{name:>28}  {_text(value)}" for name, value in shown if value not in (None, ""))


def _table(result: SeedsResult) -> str:
    lines = [f"{'seed':>12} {'success':>10} {'return':>12} {'steps':>9} {'wall s':>8}  folder"]
    for run in result.runs:
        figures = f"{run.seed:>12} {_text(run.success):>10} {run.mean_return:>12.4g}"
        lines.append(f"{figures} {run.transitions:>9} {run.wall_s:>8.4g}  {run.out}")
    lines.append(f"{'mean':>12} {_text(result.success_mean):>10} {result.mean_return_mean:>12.4g}")
    lines.append(f"{'std':>12} {_text(result.success_std):>10} {result.mean_return_std:>12.4g}")
    return "\n".join(lines)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
