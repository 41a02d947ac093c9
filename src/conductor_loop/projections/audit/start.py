"""A daemon's time with the log: opened, its gap told, and closed in order or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from conductor_loop import disk
from conductor_loop.core.audit.ledger import INNOCENT, Gap, Ledger
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.identity import ulid
from conductor_loop.ports import Clock, Signer
from conductor_loop.projections.audit.files import FOLDER, make_file, open_folder
from conductor_loop.projections.audit.gaps import Open, Relayed, open_after, why_untold
from conductor_loop.projections.audit.log import AuditLog, AuditPolicy
from conductor_loop.projections.audit.opening import resume, told_by

_OTHERS = 0o077


@contextmanager
def open_audit(
    state: int, feed: Relayed, catalog: Open, signer: Signer, clock: Clock, policy: AuditPolicy
) -> Iterator[AuditLog]:
    """The log inside a state dir, while the block runs. Raises CannotStart.

    When the block ends by an exception, the log ends without `log.closed`.
    """
    folder = _private_folder(state)
    try:
        try:
            log = _taken_up(folder, feed, catalog, signer, clock, policy)
        except OSError as error:
            raise _unusable(error) from error
        try:
            yield log
        except BaseException:
            log.abandon()
            raise
        log.close()
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True)
class Unkept:
    """A log that is switched off, as a start finds it."""

    told_to: int
    """The newest entry of the journal that it must tell when it is taken up again."""
    is_cut: bool
    """Whether it tells less than it did, and nothing says why."""


def look_at_unkept(state: int, feed: Relayed, catalog: Open) -> Unkept:
    """Hold the journal against a log that is switched off; reads only. Raises CannotStart."""
    told = require_newest(state, catalog)
    position = feed.position()
    is_cut = told < position and (
        why_untold(told, position, feed, is_new=not told).reason not in INNOCENT
    )
    return Unkept(position if is_cut else told, is_cut)


def require_newest(state: int, catalog: Open) -> int:
    """Up to which entry of the journal the log inside a state dir tells; reads only.

    Raises CannotStart when the journal does not go as far.
    """
    try:
        told = _told_on_disk(state)
    except OSError as error:
        raise _unusable(error) from error
    _require_newer(catalog, told)
    return told


def _told_on_disk(state: int) -> int:
    try:
        folder = disk.open_folder(FOLDER, inside=state)
    except FileNotFoundError:
        return 0
    try:
        return told_by(folder)
    finally:
        os.close(folder)


def _private_folder(state: int) -> int:
    try:
        folder = open_folder(state)
    except OSError as error:
        raise _unusable(error) from error
    mode = stat.S_IMODE(os.fstat(folder).st_mode)
    if mode & _OTHERS:
        os.close(folder)
        raise CannotStart(
            f"others may enter the audit log's folder: its mode is {mode:04o}",
            hint="chmod 700 STATE-DIR/audit",
            code="audit_not_private",
        )
    return folder


def _unusable(error: OSError) -> CannotStart:
    return CannotStart(
        f"the audit log cannot be opened: {error.strerror}",
        hint="make STATE-DIR/audit a folder of the daemon's user, not a link, on a disk with room",
        code="audit_not_usable",
    )


def _taken_up(
    folder: int, feed: Relayed, catalog: Open, signer: Signer, clock: Clock, policy: AuditPolicy
) -> AuditLog:
    resumed = resume(folder, feed.position())
    now = clock.now()
    if resumed is None:
        origin = f"conductor-loop/{ulid(int(now.timestamp() * 1000), _random())}"
        log = AuditLog(folder, make_file(folder, 1, now), Ledger(origin), signer, clock, policy)
        log.open_with({"after": "nothing", "cut_bytes": 0})
        _tell_gap(log, 0, feed, catalog, is_new=True)
        return log
    try:
        _require_newer(catalog, resumed.ledger.journal_seq)
    except CannotStart:
        resumed.file.close()
        raise
    log = AuditLog(folder, resumed.file, resumed.ledger, signer, clock, policy)
    log.remember(resumed.seqs)
    log.open_with({"after": resumed.last_action, "cut_bytes": resumed.cut})
    _tell_gap(log, resumed.ledger.journal_seq, feed, catalog, is_new=False)
    log.prune()
    return log


def _require_newer(catalog: Open, told: int) -> None:
    """Only what is committed is told: an older journal would run intents again."""
    last_seq = catalog.last_seq()
    if told <= last_seq:
        return
    raise CannotStart(
        f"the journal is an old copy, or a new one: it ends at entry {last_seq}, "
        f"and the audit log tells of entry {told}",
        hint="put the newest one back; or restore a backup; or conductor-loop state rebuild, "
        "which takes final results from the verdicts and holds what it cannot be sure of",
        code="journal_rolled_back",
    )


def _random() -> int:
    return int.from_bytes(os.urandom(10), "big")


def _tell_gap(log: AuditLog, told: int, feed: Relayed, catalog: Open, *, is_new: bool) -> None:
    """Say which entries will never come: views are in line with them already."""
    position = feed.position()
    if told >= position:
        return
    why = why_untold(told, position, feed, is_new=is_new)
    now_open = tuple(open_after(position, feed, catalog))
    log.skip(Gap(told, now_open, why.reason, position, why.lost_to))
