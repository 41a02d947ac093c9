"""What protects a state dir now: as its daemon says, else as its disk says, else not known."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from conductor_loop.adapters.checkup import stands
from conductor_loop.adapters.control_socket import DaemonSilent, ask
from conductor_loop.adapters.journal.database import FILE_NAME, JournalGone, NoJournal
from conductor_loop.adapters.journal.reader import open_reader
from conductor_loop.core.control import Look
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.protection import Protections, protections_in
from conductor_loop.core.wording import timestamp

_MOST_ENTRIES = 100
_STARTED = "daemon_started"


@dataclass(frozen=True, slots=True)
class InForce:
    """The protections that are known, and who says so."""

    said: Protections
    source: str
    """In words, to stand behind whatever is told of `said`."""
    is_running: bool = False
    """Whether a daemon runs there, whatever it says."""


@dataclass(frozen=True, slots=True)
class JournalForm:
    """How the journal's file holds what it tells."""

    is_sealed: bool
    looked_at: int
    """How many of the newest entries were read."""
    unreadable: int
    """How many of them are not what their keys, or their place, would make them."""


def in_force(state_dir: Path, kek_file: Path | None) -> InForce:
    """Ask the daemon; where none runs, its journal for the last start. Never raises for either."""
    try:
        reply = ask(state_dir, Look())
    except DaemonSilent:
        return InForce(Protections(), "a daemon runs and gives no answer", is_running=True)
    except OSError as error:
        return InForce(Protections(), f"whether a daemon runs cannot be asked: {error.strerror}")
    if reply is None:
        return _as_journalled(state_dir, kek_file)
    if reply.protections is None:
        told = f"the daemon, pid {reply.pid}, is of a version that does not say"
        return InForce(Protections(), told, is_running=True)
    return said_by_daemon(reply.protections, reply.pid)


def said_by_daemon(protections: Protections, pid: int) -> InForce:
    """What a daemon says of itself."""
    return InForce(protections, f"says the daemon that runs, pid {pid}", is_running=True)


def journal_form(state_dir: Path, kek_file: Path | None) -> JournalForm | None:
    """Look into the journal's file; None when there is none. Raises ConductorError and OSError."""
    if not stands(state_dir / FILE_NAME):
        return None
    try:
        reader = open_reader(state_dir, kek_file, leaves_no_trace=True)
    except (NoJournal, JournalGone):  # it is empty
        return None
    with closing(reader):
        before = max(0, reader.last_seq() - _MOST_ENTRIES)
        _, entries, passed_over = reader.trusted_after(before, _MOST_ENTRIES)
        return JournalForm(reader.is_sealed, len(entries) + passed_over, passed_over)


def _as_journalled(state_dir: Path, kek_file: Path | None) -> InForce:
    try:
        with closing(open_reader(state_dir, kek_file, leaves_no_trace=True)) as reader:
            found = reader.newest_notice(_STARTED)
    except (ConductorError, OSError) as error:
        why = error.message if isinstance(error, ConductorError) else error.strerror
        return InForce(Protections(), f"no daemon runs, and its last start is not known: {why}")
    if found is None:
        return InForce(Protections(), "no daemon runs, and the journal tells of no start")
    at, notice = found
    told = f"no daemon runs; says the journal of the last start, {timestamp(at)}"
    return InForce(protections_in(notice.details), told)
