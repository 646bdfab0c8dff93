"""Names follow the field's terms: one class, one meaning; no word that was made up for floop."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT / "floop_robot", ROOT / "envs" / "floop_envs", ROOT / "policies" / "floop_policies")
FILES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
TEXTS = [
    *FILES, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "docker").iterdir()),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")),
]  # fmt: skip

MADE_UP = (
    "aiming", "asking", "bell", "betting", "bettor", "clerk", "condemn", "conductor", "court", "credit", "desk",
    "driving", "envelope", "errand", "executioner", "eyes", "fallen", "field_log", "focus", "healed", "hopeless",
    "hurried", "inlet", "intake", "kept", "lesson", "merit", "novelty", "outlet", "own_ends", "pace", "promises",
    "remark", "run_hold", "sway", "ticket", "trainee", "troubles", "twin", "voice", "work_log", "worklog", "zips",
)  # fmt: skip
"""Words that no file or class may be called by; a word of the field takes their place."""
RIDDLES = (
    r"\b(clerk|condemn\w*|errands?|hopeless|hurried|sways?|twins?|trainee|outlet|inlet|worklog|voices?|court|adopted|"
    r"healed|merit|old work|fresh work)\b"
)
"""Words that no comment, docstring, message or page may use: they had to be deciphered."""


def classes() -> Iterator[tuple[str, str]]:
    """Name and place of every class."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield node.name, f"{path.relative_to(ROOT)}:{node.lineno}"


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def is_made_up(name: str) -> bool:
    return any(f"_{word}_" in f"_{snake_case(name)}_" for word in MADE_UP)


def test_no_class_name_has_two_meanings() -> None:
    homes = defaultdict(list)
    for name, place in classes():
        homes[name].append(place)
    doubled = {name: places for name, places in homes.items() if len(places) > 1}
    assert not doubled, doubled


def test_files_and_classes_use_the_field_s_terms() -> None:
    found = [str(path.relative_to(ROOT)) for path in FILES if is_made_up(path.stem)]
    found += [f"{place} {name}" for name, place in classes() if is_made_up(name)]
    assert not found, "\n".join(found)


def test_texts_use_the_field_s_terms() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(RIDDLES, line)
    ]
    assert not found, "\n".join(found)
