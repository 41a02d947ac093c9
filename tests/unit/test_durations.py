"""Durations as Go reads and prints them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.durations import format_duration, parse_duration

LONGEST = timedelta(microseconds=(2**63 - 1) // 1000)

READ = [
    ("0", timedelta(0)),
    ("+0", timedelta(0)),
    ("-0", timedelta(0)),
    ("0s", timedelta(0)),
    ("500ms", timedelta(milliseconds=500)),
    ("30s", timedelta(seconds=30)),
    ("1m30s", timedelta(seconds=90)),
    ("168h", timedelta(days=7)),
    ("1h2m3s4ms5us", timedelta(hours=1, minutes=2, seconds=3, milliseconds=4, microseconds=5)),
    ("1.5h", timedelta(minutes=90)),
    (".5s", timedelta(milliseconds=500)),
    ("1.s", timedelta(seconds=1)),
    ("-1.5s", timedelta(seconds=-1.5)),
    ("+5m", timedelta(minutes=5)),
    ("5µs", timedelta(microseconds=5)),
    ("5μs", timedelta(microseconds=5)),
    ("5us", timedelta(microseconds=5)),
    ("1s1s", timedelta(seconds=2)),
    ("1500ns", timedelta(microseconds=2)),
    ("499ns", timedelta(0)),
    ("0.1s", timedelta(milliseconds=100)),
    ("2562047h47m16.854775807s", LONGEST + timedelta(microseconds=1)),
]

REFUSED = [
    "",
    "-",
    "+",
    "5",
    "s",
    ".s",
    "5 min",
    " 5s",
    "5s ",
    "5s\n",
    "5S",
    "5d",
    "1e3s",
    "0x5s",
    "1_0s",
    "5s3",
    "1.2.3s",
    "--5s",
    "٣s",
    "2562048h",
    "9" * 40 + "s",
    "9" * 5000 + "s",
    "9" * 1_000_000,
]


@pytest.mark.parametrize(("text", "duration"), READ)
def test_what_go_reads_is_read(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:12]))
def test_what_go_refuses_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(ValueError, match="duration") as raised:
        parse_duration(text)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(microseconds=7), "7µs"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(milliseconds=850), "850ms"),
        (timedelta(seconds=2.5), "2.5s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(hours=1), "1h0m0s"),
        (timedelta(days=7), "168h0m0s"),
        (timedelta(hours=1, microseconds=1), "1h0m0.000001s"),
        (timedelta(seconds=-1.5), "-1.5s"),
    ],
)
def test_durations_are_printed_as_go_prints_them(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(st.timedeltas(-LONGEST, LONGEST))
def test_what_is_printed_is_read_back_to_the_microsecond(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text() | st.from_regex(r"[-+]?([0-9]*\.?[0-9]*(ns|us|ms|s|m|h)){1,3}", fullmatch=True))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert abs(duration) <= LONGEST + timedelta(microseconds=1)
