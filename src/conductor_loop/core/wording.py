"""How verdicts and error logs put moments, durations and reasons into words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import assert_never

from conductor_loop.core.durations import format_duration
from conductor_loop.core.events import Skipped, SkipReason
from conductor_loop.core.faults import Fault

_MOST_NAMED = 5
_MILLISECOND = timedelta(milliseconds=1)


@lru_cache(maxsize=64)  # what happened once is told in several places
def timestamp(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC with `Z`, to the millisecond where it has a fraction."""
    moment = moment.astimezone(UTC)
    precision = "milliseconds" if moment.microsecond >= 1000 else "seconds"
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"


@lru_cache(maxsize=16)  # a verdict says the same duration three times
def duration_text(duration: timedelta) -> str:
    """Write how long something ran; beyond a millisecond, to the millisecond."""
    if duration > _MILLISECOND:
        duration = round(duration / _MILLISECOND) * _MILLISECOND
    return format_duration(duration)


def counted(count: int, one: str, many: str) -> str:
    """Write a number of things: `1 file`, `2 files`."""
    return f"{count} {one if count == 1 else many}"


def discarding(names: Sequence[str], address: str = "") -> str:
    """Say how an operator lets go of what was set aside as damaged."""
    more = " ..." if len(names) > _MOST_NAMED else ""
    ids = " ".join(names[:_MOST_NAMED])
    steps = "keep a copy of the state dir, stop the daemon, then"
    return f"{steps}: conductor-loop state discard{address} {ids}{more}"


def rejection_message(faults: Sequence[Fault]) -> str:
    """Sum up why an intent was refused: the first fault, and how many more there are."""
    if not faults:
        return "rejected"
    where = f" ({faults[0].pointer})" if faults[0].pointer else ""
    more = len(faults) - 1
    others = f", and {more} more fault{'s' if more > 1 else ''}" if more else ""
    return f"rejected: {faults[0].message}{where}{others}"


def skip_message(event: Skipped) -> str:
    """Say why an intent was not run to its end."""
    match event.reason:
        case SkipReason.EXPIRED:
            text = "skipped: waited longer than allowed"
        case SkipReason.SUPERSEDED:
            text = "skipped: a newer intent of the same target took its place"
        case SkipReason.CANCELLED:
            text = f"skipped: cancelled by {event.by}" if event.by else "skipped: cancelled"
        case _ as never:
            assert_never(never)
    return f"{text}: {event.why}" if event.why else text
