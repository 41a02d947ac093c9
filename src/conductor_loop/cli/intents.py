"""Finding the intent that an operator means."""

from __future__ import annotations

import os

from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.core.faults import ConductorError, UsageError
from conductor_loop.core.identity import is_ulid
from conductor_loop.core.naming import meant, shown
from conductor_loop.core.records import Summary


class NoSuchIntent(ConductorError):
    """Nothing in the journal goes by that name or id."""

    code = "no_such_intent"
    exit_status = 2


class AmbiguousName(ConductorError):
    """A name is that of one file, and another one is shown so."""

    code = "ambiguous_name"
    exit_status = 2


def find_intent(reader: JournalReader, word: str) -> Summary:
    """The intent of an id, or the newest one of a file name that counts (a path will do).

    A name may be written as it is or as it is shown. Raises NoSuchIntent, AmbiguousName when
    these are two, and UsageError when there is no name.
    """
    found = reader.summary(word.upper()) if is_ulid(word.upper()) else None
    if found is not None:
        return found
    name = os.path.basename(os.fsencode(word))
    if not name:
        raise UsageError(f"{word!r} names no intent", hint="give a file's name or an intent's id")
    newest = [each for one in meant(name) if (each := reader.newest_by_name(one)) is not None]
    if len(newest) == 1:
        return newest[0]
    if newest:
        raise AmbiguousName(
            f"{word} may mean two files",
            hint="say which by its id: "
            + ", or ".join(f"{each.intent_id} ({shown(each.name)})" for each in newest),
        )
    raise NoSuchIntent(
        f"no intent {shown(name)}",
        hint="conductor-loop list shows what was picked up; list --ignored what was not and why",
    )
