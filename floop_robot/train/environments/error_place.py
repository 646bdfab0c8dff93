"""What an error in somebody else's code was, and where, in one line."""

from __future__ import annotations

import site
import sysconfig
import traceback
from pathlib import Path

LONGEST = 300
"""Characters of a message that are shown."""


class EnvironmentInterrupted(KeyboardInterrupt):
    """An environment raised KeyboardInterrupt, as viewers do when closed; the text is the line to show."""


def one_line(text: object, longest: int = LONGEST) -> str:
    """The text without line breaks; a longer one is cut."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[:longest]}…"


def error_line(error: BaseException) -> str:
    """`ValueError: what it says (my_envs.py, line 7)`: the innermost line of the user's own code, else of any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_installed(frame.filename)]
    where = f" ({Path((own or frames)[-1].filename).name}, line {(own or frames)[-1].lineno})" if frames else ""
    said = one_line(error)
    return f"{type(error).__name__}{f': {said}' if said else ''}{where}"


def _is_installed(file: str) -> bool:
    if file.startswith("<"):  # frozen importlib
        return True
    places = [*site.getsitepackages(), sysconfig.get_path("stdlib"), str(Path(__file__).parents[3])]
    return any(Path(file).is_relative_to(place) for place in places)
