"""The documents agree with the code: links resolve, command lines parse, generated pages are current."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from floop_robot.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md") if (ROOT / name).exists()),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PLACEHOLDER = re.compile(r"[A-Z_]{3,}|…|\.\.\.|\[|\||\\")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return {anchor(line.lstrip("#")) for line in text.splitlines() if line.startswith("#")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_resolve(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{name_of(document)} links to {target}, which is not there"
        if fragment:
            assert fragment in anchors(file.read_text(encoding="utf-8")), f"{name_of(document)}: no heading {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_that_are_named_exist(document: Path) -> None:
    folders = (ROOT, ROOT / "floop_robot", ROOT / "envs" / "floop_envs")
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.S | re.M)
    for name in re.findall(r"`([a-z.][\w.\-]*/(?:[\w.\-]+/)*[\w.\-]+\.(?:py|yaml|urdf|md|sh|xml|txt))`", text):
        is_there = "NAME" in name or any((folder / name).exists() for folder in folders)
        assert is_there, f"{name_of(document)} names {name}"


def command_lines(text: str) -> list[list[str]]:
    """The `floop …` lines of a page, as words without redirections, from its shell blocks and inline code."""
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, flags=re.S | re.M)).replace("\\\n", " ")
    lines = [line.partition("#")[0] for line in shell.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    lines += re.findall(r"`([^`]+)`", prose.replace("\n", " "))
    found = [re.search(r"(?:^|[\s/])floop (?=[a-z\-])(.*)", line) for line in lines]
    return [["floop", *shlex.split(re.split("[;>]", match[1])[0])] for match in found if match]


def commands(word: str) -> list[str]:
    return [name for name in word.split("|") if name]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_command_lines_parse(document: Path) -> None:
    parent = click.Context(cli, info_name="floop", help_option_names=["-h", "--help"])
    for _, verb, *words in command_lines(document.read_text(encoding="utf-8")):
        if verb in ("--help", "--version"):
            continue
        for name in commands(verb):
            shown = f"{name_of(document)}: floop {name} {' '.join(words)}"
            assert name in COMMANDS, shown
            command = cli.get_command(parent, name)
            assert command is not None
            if isinstance(command, click.Group) and words:
                inner, words = words[0], words[1:]
                assert all(word in command.commands for word in commands(inner)), shown
                command = command.commands[commands(inner)[0]]
            known = {opt for param in command.params for opt in param.opts} | {"--help", "-h"}
            unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - known
            assert not unknown, f"{shown}: {name} has no option {', '.join(sorted(unknown))}"
            if words and not PLACEHOLDER.search(" ".join(words)):
                command.make_context(name, list(words), parent)


def test_what_is_made_from_the_code_is_current() -> None:
    """In a process of its own: importing the training takes torch."""
    command = [sys.executable, ROOT / "docs" / "generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
