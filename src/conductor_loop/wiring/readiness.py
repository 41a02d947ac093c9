"""Whether a daemon is ready for files, check by check, for `health` and probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from conductor_loop.adapters.handoff.source import FolderSource
from conductor_loop.adapters.journal.opening import Damage
from conductor_loop.adapters.journal.writer import SqliteJournal
from conductor_loop.conductor.backlog import Backlog
from conductor_loop.conductor.daemon import Conductor
from conductor_loop.conductor.restraint import Restraint
from conductor_loop.core.breaker import Breaker
from conductor_loop.core.control import Check
from conductor_loop.core.rates import tell_over_rate
from conductor_loop.core.security_events import describe_alerts
from conductor_loop.core.wording import discarding

_RESUME = "resume with: conductor-loop resume"
_OUTAGE = "the environment fails, not the intents"


def checks(
    conductor: Conductor,
    source: FolderSource,
    journal: SqliteJournal,
    restraint: Restraint,
    alerts: Mapping[str, int],
) -> list[Check]:
    """Every check, those that hold included."""
    breaker, backlog = conductor.backlog.breaker, conductor.backlog
    stalled = conductor.relay.stalled_by
    parked = conductor.relay.parked_count
    damaged = journal.reader.damaged()
    whole = not journal.is_incomplete
    return [
        Check("intake", conductor.is_ready, "" if conductor.is_ready else "starting or stopping"),
        _handoff_check(source),
        Check("not-paused", not backlog.paused, _RESUME if backlog.paused else ""),
        Check("porch", not breaker.is_open, _outage(breaker)),
        Check("room", backlog.free > 0, "" if backlog.free > 0 else _crowd(backlog)),
        Check("memory", not restraint.because, restraint.because),
        Check("rates", ok=True, message=_rates(source, backlog)),
        Check("disk", not journal.lacks_room, "full" if journal.lacks_room else ""),
        Check("views", stalled is None, str(stalled or "")),
        Check("nothing-damaged", not damaged, _damage(damaged)),
        Check("journal-whole", whole, "" if whole else "rows are missing; restore a backup"),
        Check("alerts", ok=True, message=describe_alerts(alerts)),
        Check("nothing-parked", parked == 0, f"{parked} set aside" if parked else ""),
    ]


def _damage(damaged: Sequence[Damage]) -> str:
    """How many there are, and how to let go of them."""
    if not damaged:
        return ""
    return f"{len(damaged)} set aside, not run; {discarding([each.name for each in damaged])}"


def _outage(breaker: Breaker) -> str:
    """Why porch is held, by the code that error logs know it by; never what porch printed.

    Probes say it to everybody.
    """
    if not breaker.is_open:
        return ""
    why = breaker.because
    return _OUTAGE if why is None else f"{_OUTAGE}: {why.code}: {why.hint}"


def _rates(source: FolderSource, backlog: Backlog) -> str:
    folder = source.state()
    return tell_over_rate(folder.is_over_rate, folder.over_rate, backlog.over_rate())


def _crowd(backlog: Backlog) -> str:
    """Who fills the queue, when it is full."""
    counts = Counter(item.target for item in backlog.waiting())
    for target, most in counts.most_common(1):
        return f"{len(backlog)} unfinished, {most} of them of {target}; more wait in the folder"
    return f"{len(backlog)} are running"


def _handoff_check(source: FolderSource) -> Check:
    if source.blocked_by not in (None, source.held_by):
        return Check("handoff", ok=False, message=str(source.blocked_by))
    served = source.state().is_served
    return Check("handoff", served, "" if served else "the folder was replaced or is gone")
