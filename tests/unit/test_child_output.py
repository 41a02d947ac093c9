"""What a child printed, as an operator gets to see it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.child_output import Printed, cleaned


def whole(data: bytes) -> Printed:
    return Printed(data, b"", len(data))


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        (b"", ""),
        (b"plain\n\ttext \xc3\xa9\n", "plain\n\ttext é\n"),
        (b"a\r\nb\r\n", "a\nb\n"),
        (b"10%\r20%", r"10%\r20%"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b[2J\x1b[Hgone", "gone"),
        (b"\x1b]0;a title\x07after", "after"),
        (b"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bPq-sixels-\x1b\\after", "after"),
        (b"\x1b]52;c;never closed", ""),
        (b"\x1b(0\x1b=\x1bcafter", "after"),
        (b"\xc2\x9b31mred", "red"),
        (b"lone \x1b", r"lone \x1b"),
        (b"bell\x07 nul\x00 del\x7f", r"bell\x07 nul\x00 del\x7f"),
        ("a\u202eb\u200bc\u2028d".encode(), r"a\u202eb\u200bc\u2028d"),
        (b'time=now level=info msg="forged"\n', 'time=now level=info msg="forged"\n'),
    ],
)
def test_output_is_decoded_stripped_and_escaped(printed: bytes, seen: str) -> None:
    assert cleaned(whole(printed)) == seen


def test_head_and_tail_without_a_gap_are_one_text() -> None:
    assert cleaned(Printed(b"caf\xc3", b"\xa9", 5)) == "café"


def test_long_text_is_cut_in_the_middle_with_a_note() -> None:
    text = cleaned(whole(b"a" * 50 + b"b" * 1234 + b"c" * 50), shown=50)

    assert text == "a" * 50 + "\n[... 1,234 characters cut here ...]\n" + "c" * 50


def test_what_nobody_kept_is_counted_in_bytes() -> None:
    text = cleaned(Printed(b"first\n", b"\nlast", 1_000_011), shown=100)

    assert text == "first\n\n[... 1,000,000 bytes and more cut here ...]\n\nlast"


def test_a_word_that_was_torn_apart_is_left_out() -> None:
    text = cleaned(Printed(b"first wor", b"rd last", 1_000_016), shown=100)

    assert text == "first \n[... 1,000,000 bytes and more cut here ...]\n last"


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 10**12))
def test_whatever_is_printed_shows_within_its_bounds(head: bytes, tail: bytes, lost: int) -> None:
    text = cleaned(Printed(head, tail, len(head) + len(tail) + lost), shown=40)

    assert all(character.isprintable() or character in "\n\t" for character in text)
    assert len(text) <= 2 * 40 + 60
