"""Foreign text that is to be shown or signed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.legible import legible_block, legible_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ~", "plain text, ~"),
        ("Grüße, 東京", "Grüße, 東京"),
        ("C:\\porch", "C:\\porch"),
        ("one\ntwo\r\n\tthree", "one\\ntwo\\r\\n\\tthree"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x7f\x80\x9b", "\\x7f\\x80\\x9b"),
        ("abc\u202edef", "abc\\u202edef"),
        ("\u2028", "\\u2028"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_does_not_show_is_escaped(text: str, shown: str) -> None:
    assert legible_line(text) == shown


def test_a_block_keeps_its_lines_and_tabs() -> None:
    assert legible_block("one\n\ttwo\r\n\x1b[0m") == "one\n\ttwo\\r\n\\x1b[0m"


@given(st.text())
def test_every_text_becomes_printable_and_valid_json(text: str) -> None:
    shown = legible_line(text)
    assert shown == "" or shown.isprintable()
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode("utf-8")) == shown


@given(st.text())
def test_escaping_again_changes_nothing(text: str) -> None:
    assert legible_line(legible_line(text)) == legible_line(text)
