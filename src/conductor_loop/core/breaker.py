"""Tells an outage from an intent that fails on its own, so that no outage fills `failed/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from conductor_loop.core.arrival import Delivered, Undelivered
from conductor_loop.core.events import Failure, FailureKind
from conductor_loop.core.intent import Target

_TARGETS_IN_A_ROW = 2
_STRIKES = 2


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the breaker opens, and how it probes; seconds."""

    patience: float = 60.0
    """One target alone failing this long without any answer opens it too."""
    deadlines: float = 0.0
    """Reaching deadlines alone does so not sooner: by then one intent's attempts may be over.

    A target that has not failed for that long, and for `patience`, does not count any more.
    """
    first_probe: float = 1.0
    slowest_probe: float = 30.0


@dataclass(frozen=True, slots=True)
class _Series:
    """Failures of one target without an answer to anybody, on the steady clock."""

    first: float
    last: float


class Breaker:
    """Open: attempts wait, failures are not counted, one probe per backoff.

    An *answer* is a delivery or a permanent refusal: the publisher ran and judged. Two targets in
    a row without one, or a publisher that cannot be started, is the environment's failure.
    An intent that gets none although somebody did since its last try has a strike against it; from
    the second on it fails on its own. One outage, with no answers in it, is one strike at most.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        """May be exchanged: the next outage goes by it."""
        self._failing: dict[Target, _Series] = {}
        self._answers = 0
        self._answers_seen: dict[str, int] = {}
        self._strikes: Counter[str] = Counter()
        self._opened_at: float | None = None
        self._probe_at = 0.0
        self._pause = policy.first_probe
        self._probe: str | None = None
        self._tried: set[Target] = set()
        self.because: Failure | None = None
        """The newest failure that holds it open; means nothing while closed."""

    @property
    def is_open(self) -> bool:
        """Whether attempts wait."""
        return self._opened_at is not None

    @property
    def opened_at(self) -> float | None:
        """When it opened, on the steady clock."""
        return self._opened_at

    @property
    def probe_at(self) -> float:
        """When the next probe may start, on the steady clock; means nothing while closed."""
        return self._probe_at

    @property
    def tried(self) -> AbstractSet[Target]:
        """Targets that got no answer in this round of probes: the next probe avoids them."""
        return self._tried

    def may_probe(self, now: float) -> bool:
        """Whether one intent may be tried although the breaker is open; one at a time."""
        return self.is_open and self._probe is None and now >= self._probe_at

    def hasten(self, now: float) -> None:
        """Somebody mended the environment: the next probe need not wait."""
        self._probe_at = min(self._probe_at, now)

    def start_probe(self, intent_id: str, target: Target) -> None:
        """This intent is the probe; the next one only after it came back.

        A target for the second time means that all were tried: a new round, at a slower pace.
        """
        if target in self._tried:
            self._tried.clear()
            self._pause = min(self._pause * 2, self.policy.slowest_probe)
        self._probe = intent_id

    def abandon_probe(self, intent_id: str) -> None:
        """The probe was stopped and says nothing."""
        if self._probe == intent_id:
            self._probe = None

    def rules_environment(
        self,
        intent_id: str,
        target: Target,
        outcome: Delivered | Undelivered,
        now: float,
        *,
        has_own_deadline: bool = False,
    ) -> bool:
        """Take note of an outcome; tell whether it is the environment's failure.

        `has_own_deadline`: the intent asked for a shorter one than all others have.
        """
        if isinstance(outcome, Delivered) or outcome.failure.kind is FailureKind.PERMANENT:
            self._answered(intent_id)
            return False
        failure = outcome.failure
        is_own = has_own_deadline and failure.kind is FailureKind.TIMEOUT
        return self._unanswered(intent_id, target, failure, now, is_own=is_own)

    def forget(self, intent_id: str) -> None:
        """The intent is final, also if it was the probe and nobody tells how its attempt went."""
        self.abandon_probe(intent_id)
        self._answers_seen.pop(intent_id, None)
        del self._strikes[intent_id]

    def _answered(self, intent_id: str) -> None:
        self.forget(intent_id)
        self._answers += 1
        self._failing.clear()
        self._opened_at = None
        self._probe = None

    def _unanswered(
        self, intent_id: str, target: Target, failure: Failure, now: float, *, is_own: bool
    ) -> bool:
        # Others that were still in flight when it opened say nothing new.
        if self.is_open and intent_id == self._probe:
            self._probe = None
            self.because = failure
            self._wait(target, now)
        if self._strike(intent_id) >= _STRIKES:
            return False
        if self.is_open:
            return True
        if is_own or failure.kind is FailureKind.CRASHED:
            # Who wants it sooner than others is late sooner. What dies by a signal has mostly met
            # its own bug. Both are bounded by their attempts.
            return False
        self._note(target, now)
        if failure.kind is not FailureKind.ENVIRONMENT and not self._is_outage(failure, now):
            return False
        self._opened_at = now
        self.because = failure
        self._pause = self.policy.first_probe
        self._tried.clear()
        self._wait(target, now)
        return True

    def _strike(self, intent_id: str) -> int:
        """Count this failure against the intent if there were answers since its last one."""
        if self._answers_seen.get(intent_id, 0) != self._answers:
            self._answers_seen[intent_id] = self._answers
            self._strikes[intent_id] += 1
        return self._strikes[intent_id]

    def _note(self, target: Target, now: float) -> None:
        """Add to the series of this target; one that is over tells nothing about today."""
        longest_gap = max(self.policy.patience, self.policy.deadlines)
        failing = self._failing.items()
        self._failing = {each: s for each, s in failing if now - s.last <= longest_gap}
        first = self._failing[target].first if target in self._failing else now
        self._failing[target] = _Series(first, now)

    def _is_outage(self, failure: Failure, now: float) -> bool:
        if len(self._failing) >= _TARGETS_IN_A_ROW:
            return True
        patience = self.policy.patience
        if failure.kind is FailureKind.TIMEOUT:
            patience = max(patience, self.policy.deadlines)
        return now - min(series.first for series in self._failing.values()) >= patience

    def _wait(self, target: Target, now: float) -> None:
        self._tried.add(target)
        self._probe_at = now + self._pause
