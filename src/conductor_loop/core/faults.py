"""How things go wrong, as values: a fault in an intent, and the base of every raised error."""

from __future__ import annotations

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with an intent, stable enough for a script to match on.

    `code` never changes once released; `pointer` is an RFC 6901 JSON pointer ("" = whole document).
    """

    code: str
    message: str
    hint: str = ""
    pointer: str = ""


class ConductorError(Exception):
    """The program cannot go on as asked. Operators see message and hint, never a trace."""

    code = "error"
    exit_status = 1

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class UsageError(ConductorError):
    """The command line, environment or configuration file asks for something impossible."""

    code = "usage"
    exit_status = 2


class CannotStart(ConductorError):
    """Something the daemon stands on is missing or not usable; nothing was picked up."""

    code = "cannot_start"


class DurabilityLost(ConductorError):
    """A sync to disk failed, so nothing written since the last one may be believed.

    Never retried: the kernel marks the failed pages clean, and a second sync would lie
    (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    """

    code = "durability_lost"


class JournalDamaged(ConductorError):
    """What the journal says cannot be believed: altered, moved, removed, or unreadable."""

    code = "journal_damaged"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(
            message,
            hint=hint
            or "start the daemon: it sets aside what it cannot trust; or restore a backup",
        )


class NoRoom(ConductorError):
    """The disk is full and waiting for room was given up; everything handed over is kept."""

    code = "no_room"
