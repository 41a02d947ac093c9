"""What the journal's files tell to somebody who has a copy of them, and not its key."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from conductor_loop.adapters.journal import (
    Sealing,
    SqliteJournal,
    open_journal,
    open_reader,
    switching,
)
from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.adapters.journal.kek_file import own_kek_file
from conductor_loop.core.events import Admitted, Event, Failed, FailureKind, Paused, Run, Started
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Record
from tests.fakes import BEGINNING, FakeClock, failure_of, in_a_loop, number_id, receipt_of

TARGET = Target("secretive-space", "hidden-upf")
NAME = b"intent-between-us.json"
REASON = "a reason for nobody else"
OUTPUT = "what porch muttered"
CORRELATION = "cid-confidential"
TOLD = [NAME, b"secretive-space", b"hidden-upf", REASON.encode(), OUTPUT.encode()]
TOLD += [CORRELATION.encode(), b"ann-the-operator"]
ON, OFF = Sealing(), Sealing(enabled=False)


def admission(number: int = 1, name: bytes = NAME) -> Record:
    body = json.dumps({"target": TARGET.name, "reason": REASON}).encode()
    event = Admitted(receipt_of(name, body), *TARGET, priority=5, correlation_id=CORRELATION)
    return Record(number_id(number), event, body)


def failed() -> Event:
    failure = failure_of(FailureKind.PERMANENT)
    return Failed(
        type(failure)(failure.kind, failure.code, failure.message, stderr=OUTPUT),
        Run(1, 0, BEGINNING, timedelta(seconds=1)),
    )


async def write_a_story(journal: SqliteJournal) -> None:
    await journal.record([admission(1)])
    await journal.record([Record(number_id(1), Started(1))])
    await journal.record([Record(number_id(1), failed())])
    await journal.record([Record(None, Paused("ann-the-operator", REASON, str(TARGET)))])
    await journal.park(journal.after(0, 1)[0], f"{NAME.decode()} has no place")
    await journal.remember_imported([(NAME, "ab" * 32, 1)], "state file")


def found_in_files(folder: Path, words: Sequence[bytes] = TOLD) -> set[bytes]:
    """Those words that stand in any file of the journal as it lies on the disk."""
    files = [path for path in folder.glob(f"{FILE_NAME}*") if path.is_file()]
    assert FILE_NAME in {path.name for path in files}
    return {word for word in words for path in files if word in path.read_bytes()}


def kek_of(folder: Path) -> Path:
    return own_kek_file(folder)


# What a copy tells.


@in_a_loop
async def test_no_file_of_the_journal_tells_anything_of_an_intent(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, FakeClock(), ON)
    await write_a_story(journal)

    assert {path.name for path in tmp_path.glob("*-*")} >= {f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"}
    assert found_in_files(tmp_path) == set()
    await journal.close()
    assert found_in_files(tmp_path) == set()


@in_a_loop
async def test_with_encryption_off_the_same_files_tell_everything(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, FakeClock(), OFF)
    await write_a_story(journal)

    assert found_in_files(tmp_path) == set(TOLD)
    await journal.close()
    assert found_in_files(tmp_path) == set(TOLD)
    assert not kek_of(tmp_path).exists()


@in_a_loop
async def test_equal_values_are_not_seen_to_be_equal(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, FakeClock(), ON)
    await journal.record([admission(1), admission(2)])
    await journal.close()

    connection = apsw.Connection(str(tmp_path / FILE_NAME))
    for column in ("facts", "body"):
        assert connection.execute(f"SELECT count(DISTINCT {column}) FROM intents").get == 2
    connection.close()


# The key-encryption key.


@in_a_loop
async def test_a_key_is_made_on_the_first_run_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = open_journal(tmp_path, FakeClock(), ON)
    finally:
        os.umask(before)
    await journal.close()

    assert stat.S_IMODE(kek_of(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(kek_of(tmp_path).parent.stat().st_mode) == 0o700


@in_a_loop
async def test_a_key_that_is_named_is_used_and_none_is_made(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.write_text("5a" * 32 + "\n")
    mounted.chmod(0o440)
    state = tmp_path / "state"
    state.mkdir()
    sealing = Sealing(kek_file=mounted)
    journal = open_journal(state, FakeClock(), sealing)
    await journal.record([admission()])
    await journal.close()

    reader = open_reader(state, mounted)

    assert reader.body(number_id(1)) == admission().body
    assert not kek_of(state).exists()
    reader.close()


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda path: path.unlink(), "kek_lost"),
        (lambda path: path.write_text("00" * 32), "kek_wrong"),
        (lambda path: path.write_text("no key"), "kek_malformed"),
        (lambda path: path.chmod(0o644), "kek_exposed"),
        (lambda path: path.chmod(0o640), "kek_exposed"),
    ],
    ids=["lost", "another", "malformed", "readable by all", "readable by the group"],
)
@in_a_loop
async def test_row_27_a_key_that_cannot_be_trusted_or_used_stops_the_start(
    tmp_path: Path, harm: object, code: str
) -> None:
    journal = open_journal(tmp_path, FakeClock(), ON)
    await journal.record([admission()])
    await journal.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    harm(kek_of(tmp_path))  # type: ignore[operator] # one of the functions above

    for attempt in (lambda: open_journal(tmp_path, FakeClock(), ON), lambda: open_reader(tmp_path)):
        with pytest.raises(CannotStart) as refusal:
            attempt()
        assert refusal.value.code == code
        assert refusal.value.hint
    assert (tmp_path / FILE_NAME).read_bytes() == before


@in_a_loop
async def test_a_lost_key_is_told_with_every_way_out(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, FakeClock(), ON)
    await journal.close()
    shutil.rmtree(kek_of(tmp_path).parent)

    with pytest.raises(CannotStart) as refusal:
        open_journal(tmp_path, FakeClock(), ON)

    for way in ("put the key back", "restore", "state rebuild", "start anew"):
        assert way in refusal.value.hint


@in_a_loop
async def test_a_new_key_in_front_of_the_old_one_wraps_the_data_keys_anew(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, FakeClock(), ON)
    await journal.record([admission()])
    await journal.close()
    sealed = (
        apsw.Connection(str(tmp_path / FILE_NAME)).execute("SELECT facts FROM intents").fetchall()
    )
    path = kek_of(tmp_path)
    path.write_text("5a" * 32 + "\n" + path.read_text())

    await open_journal(tmp_path, FakeClock(), ON).close()
    path.write_text("5a" * 32 + "\n")

    journal = open_journal(tmp_path, FakeClock(), ON)
    assert journal.reader.body(number_id(1)) == admission().body
    await journal.close()
    connection = apsw.Connection(str(tmp_path / FILE_NAME))
    assert connection.execute("SELECT facts FROM intents").fetchall() == sealed
    connection.close()


# The data keys.


def kids_of_facts(folder: Path) -> list[int]:
    connection = apsw.Connection(str(folder / FILE_NAME))
    kids = connection.execute("SELECT hex(substr(facts, 2, 4)) FROM intents ORDER BY seq")
    found = [int(str(kid), 16) for (kid,) in kids]
    connection.close()
    return found


@pytest.mark.parametrize(
    "sealing",
    [Sealing(key_uses=3), Sealing(key_age=timedelta(seconds=10))],
    ids=["by count", "by age"],
)
@in_a_loop
async def test_a_new_data_key_follows_and_what_was_sealed_before_stays_readable(
    tmp_path: Path, sealing: Sealing
) -> None:
    clock = FakeClock()
    journal = open_journal(tmp_path, clock, sealing)
    reader = open_reader(tmp_path)
    for number in (1, 2, 3):
        await journal.record([admission(number)])
        clock.advance(10)
    kids = kids_of_facts(tmp_path)

    assert kids[0] < kids[-1]
    # Also for a reader that was opened when there was only the first.
    for each in (journal.reader, reader):
        assert [each.body(number_id(n)) for n in (1, 2, 3)] == [admission().body] * 3
    reader.close()
    await journal.close()

    journal = open_journal(tmp_path, clock, sealing)
    assert len(journal.reader.unfinished()) == 3
    await journal.close()


# Switched on and off.


async def everything(folder: Path, sealing: Sealing) -> tuple[object, ...]:
    """All that can be asked of a journal."""
    journal = open_journal(folder, FakeClock(), sealing)
    reader = journal.reader
    told = (
        reader.after(0, 100),
        reader.summaries(),
        reader.summaries_of(NAME),
        reader.newest(TARGET),
        reader.parked(),
        reader.pauses(),
        reader.imported(NAME, "ab" * 32),
        reader.body(number_id(1)),
    )
    await journal.close()
    return told


@in_a_loop
async def test_encryption_switched_on_and_off_keeps_all_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path, FakeClock(), OFF)
    await write_a_story(journal)
    await journal.close()
    before = await everything(tmp_path, OFF)

    for sealing, found in ((ON, set()), (OFF, set(TOLD)), (ON, set()), (ON, set())):
        assert await everything(tmp_path, sealing) == before
        assert found_in_files(tmp_path) == found
        assert {path.name for path in tmp_path.glob(f"{FILE_NAME}*")} <= {
            FILE_NAME,
            f"{FILE_NAME}.anchor",
        }


@in_a_loop
async def test_a_switch_that_was_cut_short_behind_its_transaction_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, FakeClock(), OFF)
    await write_a_story(journal)
    await journal.close()
    before = await everything(tmp_path, OFF)

    def die(path: Path) -> None:
        raise KeyboardInterrupt(path)

    monkeypatch.setattr(switching, "_wipe", die)
    with pytest.raises(KeyboardInterrupt):
        open_journal(tmp_path, FakeClock(), ON)
    assert found_in_files(tmp_path) == set(TOLD), "the copy is there"
    monkeypatch.undo()

    assert await everything(tmp_path, ON) == before
    assert found_in_files(tmp_path) == set()


@in_a_loop
async def test_a_journal_in_clear_put_in_the_place_of_a_sealed_one_is_refused(
    tmp_path: Path,
) -> None:
    forged = tmp_path / "forged"
    forged.mkdir()
    journal = open_journal(forged, FakeClock(), OFF)
    await write_a_story(journal)
    await journal.close()
    journal = open_journal(tmp_path, FakeClock(), ON)
    await journal.record([admission(1)])
    await journal.close()
    (forged / FILE_NAME).replace(tmp_path / FILE_NAME)

    with pytest.raises(CannotStart) as refusal:
        open_journal(tmp_path, FakeClock(), ON)

    assert refusal.value.code == "journal_exchanged"
