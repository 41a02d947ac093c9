"""Files that were handed over and that no daemon has taken yet: the folder alone knows them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.cli.following import Follower
from conductor_loop.cli.intents import NoSuchIntent, find_intent
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.naming import is_intent_name, shown
from conductor_loop.core.records import Summary
from conductor_loop.core.wording import counted
from conductor_loop.settings import Settings

_START = "start one: conductor-loop"


class NotTakenYet(ConductorError):
    """It waits in the handoff folder; the journal knows nothing of it."""

    code = "not_taken_yet"
    exit_status = 2


class NoDaemonYet(ConductorError):
    """Files wait where no daemon has ever run."""

    code = "no_daemon_yet"


def unclaimed(handoff: Path) -> Sequence[str]:
    """The names of files that wait in a folder; none where it cannot be read."""
    try:
        with os.scandir(os.fsencode(handoff)) as entries:
            return sorted(
                shown(entry.name)
                for entry in entries
                if is_intent_name(entry.name) and not entry.is_dir(follow_symlinks=False)
            )
    except OSError:
        return ()


def find_taken(reader: JournalReader, word: str, settings: Settings, *, hint: str = "") -> Summary:
    """`find_intent`, which of a file that waits in the folder tells that; `hint`: what to do then.

    Raises NotTakenYet besides.
    """
    try:
        return find_intent(reader, word)
    except NoSuchIntent as error:
        waits = why_unclaimed(settings, word)
        if waits is not None and hint:
            waits.hint = hint
        raise waits or error from error


def why_unclaimed(settings: Settings, word: str) -> NotTakenYet | None:
    """Why a file of this name (a path will do) was not taken; None when none waits."""
    name = os.path.basename(os.fsencode(word))
    try:
        status = os.lstat(os.path.join(os.fsencode(settings.handoff), name))
    except (OSError, ValueError):
        return None
    if not is_intent_name(name) or stat.S_ISDIR(status.st_mode):
        return None
    waits = f"{shown(name)} waits in {settings.handoff}"
    if is_served(settings):
        return NotTakenYet(
            f"{waits}; the daemon has not taken it yet",
            hint="conductor-loop health tells what keeps it from that",
        )
    return NotTakenYet(f"{waits}; no daemon runs", hint=_START)


def none_ever_ran(settings: Settings) -> NoDaemonYet | None:
    """What to say of a folder without a journal in which files wait.

    None where none waits, or a daemon serves the folder with a state dir that was not given.
    """
    names = unclaimed(settings.handoff)
    if not names or is_served(settings):
        return None
    files = counted(len(names), "file waits", "files wait")
    return NoDaemonYet(f"{files} in {settings.handoff}; no daemon has run here yet", hint=_START)


def is_served(settings: Settings) -> bool:
    """Whether a daemon runs; where this user may not know, one is assumed."""
    return Follower(settings).is_watched()
