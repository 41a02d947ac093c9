"""Finding the intent that an operator means."""

from __future__ import annotations

import os

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
