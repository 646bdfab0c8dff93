"""Texts of people who stop robots."""

from __future__ import annotations

import pytest

from floop_robot.spec.estop import join_texts


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a hand", "a hand"),
        ("ann\nrobot_2 is stopped", "ann robot_2 is stopped"),
        ("\x1b[2Jclear\x00", "[2Jclear"),
        ("\u2028\n", ""),
        ("\udcff", "?"),
        ("Müller 手", "Müller 手"),
    ],
)
def test_a_text_is_one_printable_line(text: str, kept: str) -> None:
    assert join_texts("", text) == kept
    assert join_texts("", text).isprintable()
