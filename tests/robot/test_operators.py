"""Who may release a stop."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from floop_robot.robot.operators import OperatorTokens
from floop_robot.spec.errors import ConfigError

TOKEN = "5b1c-9e"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "operators.yaml"
    path.write_text(f"tokens:\n  ann: {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    return path


def test_a_name_is_enough_without_a_file() -> None:
    tokens = OperatorTokens(None)
    assert not tokens.needs_token
    assert tokens.refusal("ann", "") == ""
    assert "who" in tokens.refusal(" ", "")


def test_without_a_file_nobody_may_where_one_is_required() -> None:
    assert "no operators' file" in OperatorTokens(None, required=True).refusal("ann", "")


def test_the_right_token_of_the_right_person_is_needed(path: Path) -> None:
    tokens = OperatorTokens(path)
    assert tokens.needs_token
    assert tokens.refusal("ann", TOKEN) == ""
    for who, token in (("ann", ""), ("ann", TOKEN + " "), ("bob", TOKEN), ("", TOKEN), ("ann", "ü\0")):
        assert tokens.refusal(who, token), (who, token)


def test_whoever_is_struck_off_is_refused_at_once(path: Path) -> None:
    tokens = OperatorTokens(path)
    path.write_text("tokens: {}\n")
    assert "ann" in tokens.refusal("ann", TOKEN)


def test_a_damaged_or_missing_file_allows_nothing(path: Path) -> None:
    tokens = OperatorTokens(path)
    for text in ("tokens: [", "tokens: {ann: secret}\n", "token: {}\n"):
        path.write_text(text)
        assert "no token can be checked" in tokens.refusal("ann", TOKEN)
    path.unlink()
    assert "cannot read" in tokens.refusal("ann", TOKEN)
    with pytest.raises(ConfigError):
        OperatorTokens(path)
