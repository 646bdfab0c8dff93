"""What is wrong with a command line, with the cure: click names the fault alone, and ranges in words of its own."""

from __future__ import annotations

import re

import click

from floop_robot.spec.errors import did_you_mean

_NOUNS = {"integer": "whole number", "float": "number"}
_NOT_A_NUMBER = re.compile(r"(?P<value>'.*') is not a valid (?P<kind>integer|float)( range)?", re.DOTALL)


def usage_line(error: click.UsageError) -> str:
    """The fault and its cure, ending as a sentence does."""
    text = error.format_message().strip().rstrip(".")
    command = error.ctx.command if error.ctx else None
    if (found := _NOT_A_NUMBER.search(text)) and isinstance(error, click.BadParameter):
        kind = error.param.type if error.param else None
        text = f"{text[: found.start()]}{found['value']} is no {_NOUNS[found['kind']]}{_range(kind)}"
    elif isinstance(command, click.Group) and (found := re.match("No such command '(.*)'", text)):
        text += f"; {did_you_mean(found[1], command.list_commands(error.ctx))}" if error.ctx else ""
    elif (found := re.match(r"Got unexpected extra arguments? \((.*\.ya?ml)\)", text)) and command is not None:
        is_option = any("--config" in each.opts for each in command.params)
        text += f"; give it as --config {found[1]}" if is_option else ""
    return text if text.endswith("?") else f"{text}."


def _range(kind: object) -> str:
    """Which numbers are taken, where not all are."""
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    least = None if kind.min is None else f"{'above' if kind.min_open else 'from'} {kind.min:g}"
    most = None if kind.max is None else f"{'below' if kind.max_open else 'to'} {kind.max:g}"
    bounds = " ".join(filter(None, (least, most)))
    return f"; give one {bounds}" + (" on" if most is None else "") if bounds else ""
