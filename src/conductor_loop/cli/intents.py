"""Finding the intent that an operator means, and showing one in a row or as JSON."""

from __future__ import annotations

import os
from datetime import datetime

from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.identity import is_ulid
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Summary


class NoSuchIntent(ConductorError):
    """Nothing in the journal goes by that name or id."""

    code = "no_such_intent"
    exit_status = 2


def find_intent(reader: JournalReader, word: str) -> Summary:
    """The intent of an id, or the newest one handed over under a file name (a path will do)."""
    found = reader.summary(word.upper()) if is_ulid(word.upper()) else None
    if found is not None:
        return found
    name = os.path.basename(os.fsencode(word))
    for summary in reader.summaries_of(name):
        return summary
    raise NoSuchIntent(
        f"no intent {shown(name)}",
        hint="conductor-loop list shows what was picked up; list --ignored what was not and why",
    )


def moment(value: datetime | None) -> str:
    """A moment to the second, UTC; `-` for none."""
    if value is None:
        return "-"
    return value.isoformat(timespec="seconds").replace("+00:00", "Z")


def exact_moment(value: datetime | None) -> str | None:
    """A moment as JSON carries it."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def summary_json(summary: Summary) -> dict[str, object]:
    """One intent for a script."""
    return {
        "intent_id": summary.intent_id,
        "intent_file": shown(summary.name),
        "state": summary.state.value,
        "target": str(summary.target) if summary.target.name else None,
        "priority": summary.priority,
        "attempts": summary.runs,
        "failures": summary.failures,
        "crashes": summary.crashes,
        "received_at": exact_moment(summary.received_at),
        "not_before": exact_moment(summary.not_before),
        "final_at": exact_moment(summary.final_at),
        "intent_sha256": summary.digest or None,
        "correlation_id": summary.correlation_id or None,
        "submitted_by": summary.submitted_by,
        "retry_of": summary.retry_of,
        "filed": summary.filed,
    }
