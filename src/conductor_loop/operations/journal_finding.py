"""What the doctor says of the journal: is it there, and the one that the audit log tells of?"""

from __future__ import annotations

import os
from contextlib import closing

from conductor_loop import disk
from conductor_loop.adapters.checkup import Finding, Grade
from conductor_loop.adapters.journal.database import JournalGone, NoJournal
from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.core.faults import CannotStart, ConductorError
from conductor_loop.projections.audit.start import require_newest
from conductor_loop.settings import Settings


def journal_finding(settings: Settings) -> Finding | None:
    """Whether a start would go on from it; None where it does not open, which encryption tells."""
    try:
        reader = open_reader(settings.state_dir, settings.kek_file, leaves_no_trace=True)
    except NoJournal:
        return Finding("journal", Grade.OK, "one will be made at start")
    except JournalGone as error:
        return Finding("journal", Grade.BAD, error.message, error.hint)
    except ConductorError:
        return None
    with closing(reader):
        return _held_against_log(settings, reader)


def _held_against_log(settings: Settings, reader: JournalReader) -> Finding:
    state = disk.open_folder(str(settings.state_dir))
    try:
        require_newest(state, reader)
    except CannotStart as error:
        return Finding("journal", Grade.BAD, error.message, error.hint)
    finally:
        os.close(state)
    return Finding("journal", Grade.OK, "it has all that the audit log tells of")
