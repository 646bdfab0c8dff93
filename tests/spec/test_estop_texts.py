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


def test_a_long_first_text_does_not_silence_the_next() -> None:
    first = join_texts("", "a" * 10_000, 100)
    assert first == "a" * 100
    assert join_texts(first, "bob: a hand", 100) == "a" * 87 + "; bob: a hand"
    both = join_texts(first, "b" * 10_000, 100)
    assert both == "a" * 48 + "; " + "b" * 50
    assert join_texts(both, "b" * 10_000, 100) == both, "a repeated one takes no more room"
    assert join_texts("ann", "bob", 100) == "ann; bob"
