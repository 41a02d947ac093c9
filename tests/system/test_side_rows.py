"""Row 25 of the abuse table, the small tables of the journal: pauses, facts, what is set aside."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from conductor_loop.adapters.journal import SqliteJournal, open_journal
from conductor_loop.adapters.journal.checking import check_journal
from conductor_loop.adapters.journal.data_keys import Sealing, unlock
from conductor_loop.adapters.journal.database import FILE_NAME, open_for_writing
from conductor_loop.adapters.journal.ledger import read_count, write_count
from conductor_loop.adapters.journal.sealing import Vault
from conductor_loop.core.events import Paused, Resumed, Tidied
from conductor_loop.core.faults import JournalDamaged
from conductor_loop.core.records import Record
from tests.fakes import FakeClock, in_a_loop
from tests.fixtures.journals import make
from tests.system.test_tampering import (
    BEHIND,
    DONE,
    OPEN,
    alerts,
    damage,
    scrub,
    tamper,
    write_three,
)

FIXTURE = Path(make.__file__).with_name("schema-1.db")


async def written(folder: Path) -> None:
    """A journal with a row in each small table, and a pause that was lifted again."""
    await write_three(folder)
    journal = open_journal(folder, FakeClock())
    for target in ("ns/t1", "ns/t3", "ns/t9"):
        await journal.record([Record(None, Paused("restore", "may have run", target))])
    await journal.remember("porch", "aa")
    await journal.remember_imported([(b"intent-old.json", "d1", 7)], "a file")
    (entry, *_) = journal.after(0, 1)
    await journal.park(entry, "it would not go")
    await journal.close()
    shutil.copyfile(folder / FILE_NAME, folder / "old")
    journal = open_journal(folder, FakeClock())
    await journal.record([Record(None, Resumed("ops", "", "ns/t9"))])
    await journal.close()


def paused(journal: SqliteJournal) -> list[str]:
    return [pause.target for pause in journal.reader.pauses()]


def put_back(folder: Path) -> Sequence[str]:
    """An old copy of one row: a pause that was lifted since."""
    return (
        f"ATTACH '{folder / 'old'}' AS old",
        "INSERT OR IGNORE INTO pauses SELECT * FROM old.pauses",
    )


def blank(folder: Path) -> None:
    """Leave the journal as a version before left it: with a count of intents and events alone."""
    connection = open_for_writing(folder / FILE_NAME)
    vault = unlock(connection, folder, None)
    assert isinstance(vault, Vault)
    with connection:
        write_count(connection, vault, replace(read_count(connection, vault), sides={}))
    connection.close()


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM pauses",),
        ("DELETE FROM pauses WHERE rowid = (SELECT min(rowid) FROM pauses)",),
        ("UPDATE pauses SET pause = (SELECT pause FROM pauses ORDER BY rowid DESC LIMIT 1)",),
        ("UPDATE pauses SET target_key = x'00' WHERE rowid = (SELECT min(rowid) FROM pauses)",),
        ("UPDATE pauses SET at = 1",),
    ],
    ids=["all removed", "one removed", "exchanged", "given to another", "redated"],
)
@in_a_loop
async def test_row_25_a_pause_that_was_altered_still_holds_and_is_an_alert(
    tmp_path: Path, statements: Sequence[str]
) -> None:
    await written(tmp_path)
    before = open_journal(tmp_path, FakeClock())
    pauses = before.reader.pauses()
    await before.close()
    tamper(tmp_path, *statements)

    journal = open_journal(tmp_path, FakeClock())

    assert journal.reader.pauses() == pauses
    assert alerts(journal) == [("journal_altered", "pauses")]
    await journal.close()


@in_a_loop
async def test_row_25_an_old_copy_of_a_pause_holds_until_an_operator_lifts_it(
    tmp_path: Path,
) -> None:
    await written(tmp_path)
    tamper(tmp_path, *put_back(tmp_path))

    journal = open_journal(tmp_path, FakeClock())

    assert (paused(journal), alerts(journal)) == (
        ["ns/t1", "ns/t3", "ns/t9"],
        [("journal_altered", "pauses")],
    )
    await journal.record([Record(None, Resumed("ops", "", "ns/t9"))])
    assert paused(journal) == ["ns/t1", "ns/t3"]
    await journal.close()


@in_a_loop
async def test_row_25_an_entry_of_the_service_that_cannot_be_read_may_have_paused_everything(
    tmp_path: Path,
) -> None:
    await written(tmp_path)
    tamper(tmp_path, "DELETE FROM pauses")
    damage(tmp_path, "event", "events", "seq = 6")

    journal = open_journal(tmp_path, FakeClock())

    assert paused(journal) == ["", "ns/t3"]
    await journal.close()


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("damaged", "INSERT INTO damaged SELECT seq, 'x', 0 FROM intents WHERE seq = 3"),
        ("facts", "UPDATE facts SET value = 'bb' WHERE key = 'porch'"),
        ("facts", "DELETE FROM facts WHERE key = 'porch'"),
        ("facts", "INSERT INTO facts VALUES ('told', '1')"),
        ("imported", "DELETE FROM imported"),
        ("parked", "DELETE FROM parked"),
    ],
)
@in_a_loop
async def test_row_25_a_row_beside_the_intents_that_was_altered_is_an_alert_once(
    tmp_path: Path, table: str, statement: str
) -> None:
    await written(tmp_path)
    tamper(tmp_path, statement)

    for _ in range(2):
        journal = open_journal(tmp_path, FakeClock())
        assert alerts(journal) == [("journal_altered", table)]
        await journal.close()


@in_a_loop
async def test_row_25_what_was_set_aside_is_looked_at_anew_when_its_row_is_gone(
    tmp_path: Path,
) -> None:
    await written(tmp_path)
    tamper(tmp_path, "UPDATE intents SET size = 1 WHERE seq = 2")
    journal = open_journal(tmp_path, FakeClock())
    await scrub(journal)
    await journal.close()
    tamper(tmp_path, "DELETE FROM damaged")

    journal = open_journal(tmp_path, FakeClock())

    assert [each.intent_id for each in journal.reader.damaged()] == [DONE]
    assert alerts(journal)[-2:] == [("row_set_aside", DONE), ("journal_altered", "damaged")]
    await journal.close()


@in_a_loop
async def test_row_25_a_pause_removed_under_a_running_daemon_shows_in_the_slow_look(
    tmp_path: Path,
) -> None:
    await written(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    tamper(tmp_path, "DELETE FROM pauses")
    # What is written meanwhile must not make it good.
    await journal.record([Record(None, Paused("ops", "", "ns/t1"))])

    await scrub(journal)

    assert journal.is_incomplete
    await journal.close()
    journal = open_journal(tmp_path, FakeClock())
    assert paused(journal) == ["ns/t1", "ns/t3"]
    await journal.close()


@in_a_loop
async def test_row_25_a_copy_whose_pauses_were_removed_is_no_backup(tmp_path: Path) -> None:
    await written(tmp_path)
    check_journal(tmp_path, None)
    tamper(tmp_path, "DELETE FROM pauses")

    with pytest.raises(JournalDamaged, match="rows of pauses"):
        check_journal(tmp_path, None)


@in_a_loop
async def test_what_the_daemon_itself_writes_beside_the_intents_is_no_alert(tmp_path: Path) -> None:
    await written(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    await journal.unpark(1)
    await journal.remember("porch", "bb")
    await journal.remember("porch", "bb")
    (told_by,) = await journal.record([Record(None, Tidied((DONE,)))])
    await journal.forget([DONE], told_by)
    await journal.record([Record(None, Paused("ops", "again", "ns/t1"))])
    await journal.record([Record(None, Resumed("ops", "", ""))])
    tamper(tmp_path, "UPDATE intents SET size = 1 WHERE seq = 2")
    await scrub(journal)
    await journal.discard([DONE], "ops")
    await scrub(journal)
    assert not journal.is_incomplete
    await journal.close()

    journal = open_journal(tmp_path, FakeClock())

    assert "journal_altered" not in {code for code, _ in alerts(journal)}
    assert {item.intent_id for item in journal.reader.unfinished()} == {OPEN, BEHIND}
    await journal.close()


@in_a_loop
async def test_a_journal_of_a_version_that_did_not_count_these_rows_opens_and_counts_them(
    tmp_path: Path,
) -> None:
    await written(tmp_path)
    blank(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    assert (paused(journal), alerts(journal)) == (["ns/t1", "ns/t3"], [])
    await journal.close()
    tamper(tmp_path, "DELETE FROM pauses")

    journal = open_journal(tmp_path, FakeClock())

    assert (paused(journal), alerts(journal)) == (
        ["ns/t1", "ns/t3"],
        [("journal_altered", "pauses")],
    )
    await journal.close()


@in_a_loop
async def test_a_journal_of_a_released_schema_guards_its_pauses_from_its_first_start_on(
    tmp_path: Path,
) -> None:
    shutil.copyfile(FIXTURE, tmp_path / FILE_NAME)
    make.put_key(tmp_path)
    await open_journal(tmp_path, FakeClock()).close()
    tamper(tmp_path, "DELETE FROM pauses")

    journal = open_journal(tmp_path, FakeClock())

    assert paused(journal) == ["ns/t1"]
    await journal.close()


@in_a_loop
async def test_switching_the_encryption_counts_the_rows_anew(tmp_path: Path) -> None:
    await written(tmp_path)
    for enabled in (False, True, True):
        journal = open_journal(tmp_path, FakeClock(), Sealing(enabled))
        assert (paused(journal), alerts(journal)) == (["ns/t1", "ns/t3"], [])
        await journal.close()
