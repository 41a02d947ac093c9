"""What becomes of a file that was handed over: its id, then its verdict. Reads only.

The journal tells both at once; who may not read it (it is private to the daemon's user) learns
both from the verdict.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from conductor_loop.adapters.control_socket import ControlRefused, DaemonSilent, ask
from conductor_loop.adapters.handoff.lock import served_elsewhere
from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.core.admission import IMPORTED
from conductor_loop.core.control import Health
from conductor_loop.core.events import Duplicated
from conductor_loop.core.faults import CannotStart, JournalDamaged
from conductor_loop.core.naming import verdict_name
from conductor_loop.core.records import Summary
from conductor_loop.core.states import State
from conductor_loop.settings import Settings

_LONGEST_VERDICT = 16 << 20


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended: the status of the verdict, and its message."""

    status: str
    message: str


@dataclass(slots=True)
class Submission:
    """One file that is handed over, and what is known of it so far."""

    name: bytes
    digest: str
    last_seq: int
    """The newest intent of this name before ours."""
    earlier_verdict: str
    """The id in the verdict that had this name before ours."""
    intent_id: str = ""
    first: str = ""
    """For a duplicate: the id of the intent whose verdict counts."""
    ending: Ending | None = None


class Follower:
    """Looks at one handoff folder and its journal, as far as this user may."""

    def __init__(self, settings: Settings) -> None:
        self._handoff = settings.handoff
        self._status = settings.handoff / "status"
        self._state_dir = settings.state_dir
        self._kek_file = settings.kek_file
        self._reader: JournalReader | None = None

    def close(self) -> None:
        """Let go of the journal."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def is_watched(self) -> bool:
        """Tell whether a daemon runs; where this user may not know, one is assumed."""
        try:
            if ask(self._state_dir, Health()) is not None:
                return True
        except (DaemonSilent, ControlRefused, PermissionError):
            return True
        other = served_elsewhere(self._handoff, self._state_dir)
        return other is not None and other.is_certain

    def expect(self, name: bytes, digest: str) -> Submission:
        """Note what is there under this name, before the file is handed over."""
        newest = (self._summaries(name) or ())[:1]
        earlier = self._verdict(self._status / os.fsdecode(verdict_name(name)))
        return Submission(
            name, digest, newest[0].seq if newest else 0, str(earlier.get("intent_id", ""))
        )

    def look(self, submission: Submission) -> None:
        """Learn what has become known since the last look."""
        summaries = self._summaries(submission.name)
        for summary in reversed(summaries or ()):
            is_later = summary.seq > submission.last_seq
            if is_later and summary.digest == submission.digest and not submission.intent_id:
                submission.intent_id = summary.intent_id
                submission.first = self._first(summary)
        if submission.first == IMPORTED:
            submission.ending = Ending("success", "the original program had processed this file")
        elif submission.intent_id or summaries is None:
            submission.ending = self._ending(submission)

    def _ending(self, submission: Submission) -> Ending | None:
        wanted = submission.first or submission.intent_id
        path = self._status / os.fsdecode(verdict_name(submission.name))
        verdict = self._verdict(path)
        if wanted and verdict.get("intent_id") != wanted:
            # A newer intent of the same name has moved it there.
            verdict = self._verdict(self._status / "history" / f"{wanted}.status")
        elif not wanted and not _is_new(verdict, submission):
            verdict = {}
        if not verdict:
            return None
        submission.intent_id = submission.intent_id or str(verdict.get("intent_id", ""))
        return Ending(str(verdict.get("status", "")), str(verdict.get("message", "")))

    def _summaries(self, name: bytes) -> Sequence[Summary] | None:
        """The intents of a name, newest first; None where the journal cannot be read.

        That is so before a daemon made it, while one makes it, and for a user who may not.
        """
        try:
            if self._reader is None:
                self._reader = open_reader(self._state_dir, self._kek_file)
            return self._reader.summaries_of(name)
        except (CannotStart, JournalDamaged, OSError, apsw.Error):
            self.close()
            return None

    def _first(self, summary: Summary) -> str:
        if summary.state is not State.DUPLICATE or self._reader is None:
            return ""
        events = [entry.event for entry in self._reader.history(summary.intent_id)]
        return next((event.first for event in events if isinstance(event, Duplicated)), "")

    def _verdict(self, path: Path) -> dict[str, object]:
        """Read a verdict; empty when there is none, or something else in its place."""
        try:
            with open(path, "rb") as file:
                document = json.loads(file.read(_LONGEST_VERDICT))
        except (OSError, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


def _is_new(verdict: dict[str, object], submission: Submission) -> bool:
    return (
        verdict.get("intent_sha256") == submission.digest
        and verdict.get("intent_id") != submission.earlier_verdict
    )
