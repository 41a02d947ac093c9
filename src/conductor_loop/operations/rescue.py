"""Putting a journal back: from a backup, or from the verdicts when there is none."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec

from conductor_loop import disk
from conductor_loop.adapters.audit_files import log_files
from conductor_loop.adapters.backup.making import FORMAT, MANIFEST, Manifest
from conductor_loop.adapters.backup.parcel import Identity, unseal
from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.lock import hold_lock
from conductor_loop.adapters.journal.checking import check_journal
from conductor_loop.adapters.journal.database import (
    ANCHOR_SUFFIX,
    FILE_NAME,
    NoJournal,
    require_journal,
)
from conductor_loop.adapters.journal.kek_file import own_kek_file
from conductor_loop.adapters.journal.writer import SqliteJournal, open_journal
from conductor_loop.core.audit.endings import Ending, told_by_log
from conductor_loop.core.audit.naming import FOLDER as AUDIT_FOLDER
from conductor_loop.core.events import Noticed
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.places import Place, filed_path
from conductor_loop.core.reconciling import Claim, Plan, Told, reconcile
from conductor_loop.core.records import Record
from conductor_loop.core.security_events import LOST_TO, RESTORED, severity_of
from conductor_loop.core.wording import timestamp
from conductor_loop.operations import remains
from conductor_loop.operations.pairing import join
from conductor_loop.projections.audit.start import require_newest
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import step_down
from conductor_loop.settings.intake import intake_rules
from conductor_loop.settings.sections import layout_of, reader, sealing

_log = logging.getLogger("conductor_loop.rescue")
_SUFFIXES = ("", "-wal", "-shm", ANCHOR_SUFFIX)
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Rescued:
    """What was found and decided."""

    plan: Plan
    intents: int
    last_seq: int
    """Of the journal that was put back; 0 when it was made from verdicts alone."""
    made_at: datetime | None
    """When the backup was made."""
    unproved: tuple[str, ...]
    """Status files that prove nothing, and were not believed."""
    aside: tuple[str, ...]
    """Where the files lie that were in the way."""
    is_done: bool
    by_log: tuple[str, ...] = ()
    """Of those settled and adopted: without a verdict, the audit log tells of their end."""
    audit_files: int = 0
    """Of the audit log, put back; 0 where there was one, which stays, or none in the backup."""


def restore(
    settings: Settings, file: Path, identities: Sequence[Identity], *, force: bool, dry_run: bool
) -> Rescued:
    """Put a backup in the place of the journal, and reconcile it. Raises CannotStart."""
    with _held(settings, [file]) as held, _scratch(held.layout) as scratch:
        manifest = _opened(file, identities, scratch)
        state = Path(held.layout.state_path)
        kek = _kek(settings, state, scratch)
        check_journal(scratch, kek)
        _refuse_full(state, force=force)
        files = 0 if log_files(state) else len(log_files(scratch))
        if dry_run:
            not_needed = shutil.ignore_patterns("trial", AUDIT_FOLDER)
            shutil.copytree(scratch, scratch / "trial", ignore=not_needed)
            ended = remains.ended(scratch if files else state, state, scratch)
            done = _reconciled(settings, held, scratch / "trial", manifest, (), kek, ended)
            return replace(done, audit_files=files)
        if files:
            _put_audit(scratch, state)
        aside = _move_aside(state, held.clock.now())
        _put_keys(scratch, state, settings.kek_file)
        os.replace(scratch / FILE_NAME, state / FILE_NAME)
        ended = remains.ended(state, state)
        done = _reconciled(settings, held, state, manifest, aside, settings.kek_file, ended)
        return replace(done, audit_files=files)


def rebuild(settings: Settings, *, dry_run: bool) -> Rescued:
    """Make a journal from the verdicts; one that is there is moved aside. Raises CannotStart."""
    _require_remains(settings)
    with _held(settings) as held, _scratch(held.layout) as scratch:
        state = Path(held.layout.state_path)
        ended = remains.ended(state, state)
        if dry_run:
            return _reconciled(settings, held, scratch, None, (), None, ended)
        aside = _move_aside(state, held.clock.now())
        return _reconciled(settings, held, state, None, aside, settings.kek_file, ended)


def discard(settings: Settings, names: Sequence[str]) -> Sequence[str]:
    """Drop what was set aside under these names, and return them; claims are taken anew."""

    async def drop(held: _Held) -> Sequence[str]:
        journal = open_journal(Path(held.layout.state_path), held.clock, sealing(settings))
        try:
            require_newest(held.layout.state, journal.reader)
            return await journal.discard(names, held.by)
        finally:
            await journal.close()

    require_journal(settings.state_dir / FILE_NAME)
    with _held(settings) as held:
        return asyncio.run(drop(held))


def _require_remains(settings: Settings) -> None:
    """Where no daemon ever ran, nothing is made: most likely it is the wrong folder."""
    if not any(path.is_dir() for path in (settings.state_dir, settings.handoff / "status")):
        raise NoJournal(
            f"no daemon ever ran in {settings.handoff.absolute()}",
            hint="name its folder by -handoff or -config FILE",
        )


@dataclass(frozen=True, slots=True)
class _Held:
    """The state dir, locked, and who is at work on it."""

    layout: Layout
    clock: SystemClock
    by: str


@contextmanager
def _held(settings: Settings, reads: Sequence[Path] = ()) -> Iterator[_Held]:
    """Nobody else may have the journal open to write: a running daemon is a refusal."""
    clock, by = SystemClock(), step_down(settings, reads)
    with (
        layout_of(settings) as layout,
        hold_lock(layout, clock.now()),
    ):
        yield _Held(layout, clock, by)


@contextmanager
def _scratch(layout: Layout) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=layout.state_path) as folder:
        yield Path(folder)


def _opened(file: Path, identities: Sequence[Identity], scratch: Path) -> Manifest:
    unseal(file, scratch, identities)
    try:
        manifest = msgspec.json.decode((scratch / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise CannotStart(
            f"{file} does not say what it holds: {error}",
            code="backup_malformed",
            hint="name a file that `conductor-loop backup` wrote",
        ) from error
    if manifest.format > FORMAT:
        raise CannotStart(
            f"{file} was made by a newer version", code="backup_newer", hint="restore it with that"
        )
    return manifest


def _kek(settings: Settings, state: Path, scratch: Path) -> Path:
    """Where the key is that opens the backup: in it, where the operator says, or in its place."""
    inside = own_kek_file(scratch)
    return inside if inside.exists() else settings.kek_file or own_kek_file(state)


def _refuse_full(state: Path, *, force: bool) -> None:
    if (state / FILE_NAME).exists() and not force:
        raise CannotStart(
            f"there is a journal in {state}",
            code="state_not_empty",
            hint="--force moves it aside and puts the backup in its place; --dry-run only looks",
        )


def _move_aside(state: Path, now: datetime) -> tuple[str, ...]:
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    moved = []
    for suffix in _SUFFIXES:
        path = state / f"{FILE_NAME}{suffix}"
        if path.exists():
            moved.append(str(path.rename(state / f"replaced-{stamp}.db{suffix}")))
    return tuple(moved)


def _put_audit(scratch: Path, state: Path) -> None:
    """All files or none: half a log would be one that somebody cut."""
    for path in (*log_files(scratch), scratch / AUDIT_FOLDER):
        handle = os.open(path, os.O_RDONLY)
        try:
            disk.sync(handle)
        finally:
            os.close(handle)
    if (state / AUDIT_FOLDER).is_dir():  # without a file of the log, so a note at most
        shutil.rmtree(state / AUDIT_FOLDER)
    os.rename(scratch / AUDIT_FOLDER, state / AUDIT_FOLDER)


def _put_keys(scratch: Path, state: Path, kek_file: Path | None) -> None:
    """Keys that are there stay: only what is missing is taken from the backup."""
    keys = own_kek_file(state).parent
    keys.mkdir(mode=0o700, exist_ok=True)
    for path in sorted((scratch / "keys").glob("*")):
        is_kek = path.name == own_kek_file(state).name
        if not (keys / path.name).exists() and not (is_kek and kek_file is not None):
            shutil.copyfile(path, keys / path.name)
            (keys / path.name).chmod(0o600)


def _reconciled(
    settings: Settings,
    held: _Held,
    folder: Path,
    manifest: Manifest | None,
    aside: tuple[str, ...],
    kek: Path | None,
    ended: Mapping[str, Ending],
) -> Rescued:
    verdicts, unproved = remains.verdicts(held.layout, Path(held.layout.state_path))
    claims = list(remains.claims(held.layout, reader(intake_rules(settings))))
    is_trial = folder != Path(held.layout.state_path)

    async def write() -> Rescued:
        sealed = replace(sealing(settings), kek_file=kek)
        journal = open_journal(folder, held.clock, sealed, is_copy=True)
        try:
            plan = await _reconcile(journal, held, verdicts, claims, manifest, ended)
            if not is_trial:
                await join(held.layout, journal)
        finally:
            await journal.close()
        certain = (*plan.settled, *plan.adopted)
        return Rescued(
            plan=plan,
            by_log=tuple(intent_id for intent_id in certain if intent_id not in verdicts),
            intents=manifest.intents if manifest else 0,
            last_seq=manifest.last_seq if manifest else 0,
            made_at=manifest.made_at if manifest else None,
            unproved=unproved,
            aside=aside,
            is_done=not is_trial,
        )

    return asyncio.run(write())


async def _reconcile(
    journal: SqliteJournal,
    held: _Held,
    verdicts: dict[str, Told],
    claims: Sequence[Claim],
    manifest: Manifest | None,
    ended: Mapping[str, Ending],
) -> Plan:
    catalog = journal.reader
    unfinished = catalog.unfinished()
    # A verdict tells more than the record of its end, so it goes first.
    told = {**told_by_log(ended, {item.intent_id: item for item in unfinished}), **verdicts}
    known = catalog.known_ids([*told, *(claim.intent_id for claim in claims)])
    by = "restore" if manifest else "rebuild"
    plan = reconcile(unfinished, known, told, claims, by=by, has_gap=True)
    # What the views had not heard when the copy was made is told to them later, unless a verdict
    # shows that it was.
    for entry in catalog.after(catalog.position(), catalog.last_seq() + 1):
        if entry.intent_id not in verdicts:
            await journal.park(entry, f"the journal was put back by {by}")
    # Numbers that were given out once stand in the audit log: they are not given to others.
    await journal.skip_to(remains.newest_audited(Path(held.layout.state_path)))
    # The audit log takes this for the reason of what it will never be told.
    lost_to = remains.newest_named(held.layout, verdicts)
    await journal.record([Record(None, _restored(by, manifest, held.by, lost_to))])
    for first in range(0, len(plan.records), _AT_ONCE):
        await journal.record(plan.records[first : first + _AT_ONCE])
    certain = (*plan.settled, *plan.adopted)
    filed = [(each, _place(held.layout, verdicts[each])) for each in certain if each in verdicts]
    last_seq = catalog.last_seq()
    filed += await _show_later(journal, ended, [each for each in certain if each not in verdicts])
    await journal.advance(last_seq, filed=filed)
    return plan


async def _show_later(
    journal: SqliteJournal, ended: Mapping[str, Ending], by_log: Sequence[str]
) -> list[tuple[str, str]]:
    """Have the next start file what ended without a verdict that is there, and write that anew;
    what the retention took since stays away, and is returned with its place."""
    removed = [intent_id for intent_id in by_log if ended[intent_id].was_removed]
    ends = [journal.reader.history(each)[-1] for each in by_log if each not in set(removed)]
    for first in range(0, len(ends), _AT_ONCE):
        some = ends[first : first + _AT_ONCE]
        await asyncio.gather(*(journal.park(end, "its verdict was not there") for end in some))
    return [(intent_id, Place.GONE.value) for intent_id in removed]


def _restored(how: str, manifest: Manifest | None, by: str, lost_to: int) -> Noticed:
    details = {"how": how, LOST_TO: str(lost_to)}
    if manifest is not None:
        details |= {"last_seq": str(manifest.last_seq), "made_at": timestamp(manifest.made_at)}
    return Noticed(RESTORED, severity_of(RESTORED), "journal", details, by)


def _place(layout: Layout, told: Told) -> str:
    """Where the file of a finished intent lies."""
    for place in (Place.PROCESSED, Place.FAILED, Place.PROCESSED_ID, Place.FAILED_ID):
        path = filed_path(place, told.receipt.name, told.intent_id)
        if path is not None and os.path.lexists(os.fsencode(layout.path) + b"/" + path):
            return place.value
    return Place.NOWHERE.value
