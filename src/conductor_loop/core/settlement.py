"""Decision 2: what does the outcome of an attempt mean for its intent?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from conductor_loop.core.arrival import Abandoned, Delivered, Outcome, Undelivered
from conductor_loop.core.events import (
    CRASHES,
    Failed,
    Failure,
    FailureKind,
    HandedBack,
    Published,
    RetryScheduled,
    Run,
    TimedOut,
)

LONGEST_BACKOFF = timedelta(minutes=5)
LONGEST_WAIT = LONGEST_BACKOFF * 1.25
"""What the spread can make of it; see `backoff`."""

Settlement = Published | RetryScheduled | HandedBack | Failed | TimedOut


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when an intent's own failures are tried again."""

    max_attempts: int = 3
    backoff: timedelta = timedelta(seconds=1)
    """Before the second attempt; doubled before each further one."""
    longest_backoff: timedelta = LONGEST_BACKOFF
    max_crashes: int = 10
    """How many deaths of the daemon or its spawner during its attempts an intent survives."""


class Tally(msgspec.Struct, frozen=True):
    """What stands against an intent before this outcome."""

    attempt: int
    """The number of the attempt that just ended; every start has its own."""
    failures: int
    """Earlier attempts that counted."""
    crashes: int = 0
    """Earlier attempts during which what ran them died."""


def settle(
    tally: Tally,
    outcome: Outcome,
    policy: RetryPolicy,
    environment_failed: bool,
    now: datetime,
    jitter: float,
) -> Settlement:
    """Decide what follows.

    `environment_failed` is the breaker's ruling; `jitter` a fresh random number from 0 up to 1.
    """
    if isinstance(outcome, Abandoned):
        if outcome.cause in CRASHES:
            return recover(tally, outcome.cause, policy)
        return HandedBack(tally.attempt, outcome.cause)
    run = Run(
        attempt=tally.attempt,
        worker=outcome.worker,
        started_at=outcome.started_at,
        duration=outcome.duration,
        porch_sha256=outcome.porch_sha256,
        sandbox=outcome.sandbox,
    )
    if isinstance(outcome, Delivered):
        return Published(run, outcome.outputs, outcome.outputs_unknown, outcome.notes)
    return _settle_failure(tally, run, outcome, policy, environment_failed, now, jitter)


def _settle_failure(
    tally: Tally,
    run: Run,
    outcome: Undelivered,
    policy: RetryPolicy,
    environment_failed: bool,
    now: datetime,
    jitter: float,
) -> Settlement:
    failure = outcome.failure
    if failure.kind is FailureKind.PERMANENT:
        return Failed(failure, run)
    if environment_failed:
        return HandedBack(tally.attempt, "environment", failure)
    failures = tally.failures + 1
    if failures < policy.max_attempts:
        return RetryScheduled(run, failure, now + backoff(policy, failures, jitter))
    if failure.kind is FailureKind.TIMEOUT:
        return TimedOut(run, failure)
    return Failed(failure, run)


def backoff(policy: RetryPolicy, failures: int, jitter: float) -> timedelta:
    """Wait after the nth failure: doubling, capped, and spread over 75 to 125 percent.

    The spread keeps intents that failed together from coming back together.
    """
    # 2**40 backoffs are longer than any cap, and far from what a timedelta overflows at.
    doubled = min(
        policy.backoff.total_seconds() * 2.0 ** min(failures - 1, 40),
        policy.longest_backoff.total_seconds(),
    )
    return timedelta(seconds=doubled * (0.75 + jitter / 2))


def longest_course(policy: RetryPolicy, deadline: timedelta) -> timedelta:
    """How long an intent is on its way at most when every attempt reaches this deadline."""
    pauses = (backoff(policy, failures, 1.0) for failures in range(1, policy.max_attempts))
    return sum(pauses, deadline * policy.max_attempts)


def recover(tally: Tally, cause: str, policy: RetryPolicy) -> HandedBack | Failed:
    """Judge an attempt during which what ran it died; `cause` is one of CRASHES."""
    crashes = tally.crashes + 1
    if crashes <= policy.max_crashes:
        return HandedBack(tally.attempt, cause)
    return Failed(
        Failure(
            kind=FailureKind.CRASHED,
            code="crash_loop",
            message=f"the daemon, or the process that starts porch, died {crashes} times while "
            "this intent was being run",
            hint="look at the log and at memory use before each death, then retry it by hand",
        )
    )
