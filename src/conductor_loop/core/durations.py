"""Durations as Go writes them: `500ms`, `1m30s`, `168h`, `0`."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
# Go keeps durations in an int64 of nanoseconds; longer ones are refused there too.
_LONGEST_NANOSECONDS = 2**63 - 1
# Go's own output has at most 29 characters; without a bound, long digits cost quadratic time.
_LONGEST_TEXT = 64


def parse_duration(text: str) -> timedelta:
    """Read a duration with Go's `time.ParseDuration` grammar, rounded to the microsecond.

    Raises ValueError with a sentence an operator can act on.
    """
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return timedelta(0)
    if not body or len(body) > _LONGEST_TEXT or _PART.sub("", body):
        raise ValueError(
            f"{text[:_LONGEST_TEXT]!r} is not a duration such as 500ms, 30s, 1m30s or 168h"
        )
    nanoseconds = sum(
        int(Decimal(number) * _NANOSECONDS[unit]) for number, unit in _PART.findall(body)
    )
    if nanoseconds > _LONGEST_NANOSECONDS:
        raise ValueError(f"{text!r} is longer than a duration can be (about 292 years)")
    microseconds = (nanoseconds + 500) // 1_000
    return timedelta(microseconds=-microseconds if text.startswith("-") else microseconds)


def format_duration(duration: timedelta) -> str:
    """Write a duration the way Go prints it: `2.5s`, `1m30s`, `168h0m0s`, `850ms`."""
    microseconds = duration // timedelta(microseconds=1)
    if microseconds < 0:
        return "-" + format_duration(-duration)
    if microseconds == 0:
        return "0s"
    if microseconds < 1_000:
        return f"{microseconds}µs"
    if microseconds < 1_000_000:
        return f"{_trim(microseconds, 1_000)}ms"
    seconds, fraction = divmod(microseconds, 1_000_000)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    text = _trim(seconds * 1_000_000 + fraction, 1_000_000) + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _trim(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
