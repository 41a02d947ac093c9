"""Row 25 of the abuse table: what somebody changes in the journal's file behind its back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from conductor_loop.adapters.journal import SqliteJournal, open_journal, open_reader
from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.core.events import Admitted, Noticed, Published, Run, Started
from conductor_loop.core.faults import CannotStart, JournalDamaged
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Record
from tests.fakes import BEGINNING, FakeClock, in_a_loop, number_id, receipt_of

OPEN, DONE, BEHIND = number_id(1), number_id(2), number_id(3)
"""One that has not begun, one that is finished, and another that waits."""


def admission(number: int) -> Record:
    body = b'{"number": %d}' % number
    receipt = receipt_of(b"intent-%d.json" % number, body)
    event = Admitted(receipt, *Target("ns", f"t{number}"), priority=5)
    return Record(number_id(number), event, body)


async def write_three(folder: Path) -> None:
    """The journal of a daemon whose views are in line."""
    journal = open_journal(folder, FakeClock())
    await journal.record([admission(1), admission(2), admission(3)])
    await journal.record([Record(DONE, Started(1))])
    await journal.record([Record(DONE, Published(Run(1, 0, BEGINNING, BEGINNING - BEGINNING)))])
    await journal.advance(journal.reader.last_seq())
    await journal.close()


def tamper(folder: Path, *statements: str) -> None:
    connection = apsw.Connection(str(folder / FILE_NAME))
    for statement in statements:
        connection.execute(statement)
        assert statement.startswith(("CREATE", "ATTACH")) or connection.changes(), statement
    connection.close()


def damage(folder: Path, column: str, table: str, where: str) -> None:
    """Flip one bit in the middle of a stored value."""
    connection = apsw.Connection(str(folder / FILE_NAME))
    value = connection.execute(f"SELECT {column} FROM {table} WHERE {where}").get
    assert isinstance(value, bytes)
    middle = len(value) // 2
    flipped = value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (flipped,))
    connection.close()


def garble(folder: Path) -> None:
    """Overwrite the head of every page but the first, which says that it is a journal."""
    path = folder / FILE_NAME
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    path.write_bytes(data)


def swap(folder: Path, column: str) -> None:
    """Exchange a value between the first intent and the third."""
    tamper(
        folder,
        f"CREATE TEMP TABLE was AS SELECT seq, {column} AS it FROM intents",
        f"UPDATE intents SET {column} = (SELECT it FROM was WHERE was.seq = 4 - intents.seq)"
        " WHERE seq IN (1, 3)",
    )


HARMS: dict[str, Callable[[Path], None]] = {
    "a bit of its facts": lambda f: damage(f, "facts", "intents", "seq = 1"),
    "a bit of its bytes": lambda f: damage(f, "body", "intents", "seq = 1"),
    "a bit of its event": lambda f: damage(f, "event", "events", "seq = 1"),
    "the bytes of another": lambda f: swap(f, "body"),
    "the facts of another": lambda f: swap(f, "facts"),
    "the look-up key of another": lambda f: swap(f, "target_key"),
    "the event of another": lambda f: tamper(
        f, "UPDATE events SET event = (SELECT event FROM events WHERE seq = 3) WHERE seq = 1"
    ),
    "an earlier moment": lambda f: tamper(f, "UPDATE events SET at = at - 1 WHERE seq = 1"),
    "attempts that never were": lambda f: tamper(f, "UPDATE intents SET runs = 2 WHERE seq = 1"),
    "another priority": lambda f: tamper(f, "UPDATE intents SET priority = 10 WHERE seq = 1"),
    "another state": lambda f: tamper(f, "UPDATE intents SET state = 'running' WHERE seq = 1"),
    "an ending": lambda f: tamper(
        f, "UPDATE intents SET state = 'published', final_at = 1 WHERE seq = 1"
    ),
}
BOTH_HARMED = {"the bytes of another", "the facts of another", "the look-up key of another"}


@pytest.mark.parametrize("harm", HARMS)
@in_a_loop
async def test_row_25_an_open_intent_that_was_altered_is_set_aside_at_start_and_not_run(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    await write_three(tmp_path)
    HARMS[harm](tmp_path)

    journal = open_journal(tmp_path, FakeClock())

    expected = set() if harm in BOTH_HARMED else {BEHIND}
    assert {item.intent_id for item in journal.reader.unfinished()} == expected
    assert OPEN in {each.intent_id for each in journal.reader.damaged()}
    # Its file is still claimed: were the intent unknown, it would be taken once more.
    assert journal.reader.known_ids([OPEN]) == {OPEN}
    assert f"set aside, and not run: {OPEN}" in caplog.text
    assert len(journal.reader.summaries()) == 3
    await journal.close()


@in_a_loop
async def test_row_25_what_was_set_aside_stays_so_and_the_others_go_on(tmp_path: Path) -> None:
    await write_three(tmp_path)
    damage(tmp_path, "body", "intents", "seq = 1")

    for _ in range(2):
        journal = open_journal(tmp_path, FakeClock())
        assert [item.intent_id for item in journal.reader.unfinished()] == [BEHIND]
        await journal.close()

    journal = open_journal(tmp_path, FakeClock())
    ((_, body),) = await journal.lease([(BEHIND, 1)])
    assert body == b'{"number": 3}'
    await journal.close()


@in_a_loop
async def test_row_25_a_finished_intent_made_open_again_is_not_run_again(tmp_path: Path) -> None:
    await write_three(tmp_path)
    tamper(tmp_path, "UPDATE intents SET state = 'waiting', final_at = NULL WHERE seq = 2")

    journal = open_journal(tmp_path, FakeClock())

    assert {item.intent_id for item in journal.reader.unfinished()} == {OPEN, BEHIND}
    assert [each.intent_id for each in journal.reader.damaged()] == [DONE]
    await journal.close()


@in_a_loop
async def test_row_25_an_entry_that_the_views_have_not_heard_is_set_aside(tmp_path: Path) -> None:
    await write_three(tmp_path)
    tamper(tmp_path, "UPDATE relay SET seq = 0")
    damage(tmp_path, "event", "events", "seq = 5")

    journal = open_journal(tmp_path, FakeClock())

    told = [entry.intent_id for entry in journal.after(0, 10) if entry.intent_id]
    assert told == [OPEN, BEHIND]
    await journal.close()


@pytest.mark.parametrize(
    "removed",
    [
        ("DELETE FROM events WHERE seq = 4",),
        ("DELETE FROM intents WHERE seq = 1", "DELETE FROM events WHERE intent = 1"),
        ("DELETE FROM intents WHERE seq = 2", "DELETE FROM events WHERE intent = 2"),
        ("DELETE FROM ledger",),
        ("INSERT INTO events SELECT 99, intent, at, event FROM events WHERE seq = 1",),
    ],
    ids=["an event", "an open intent", "a finished intent", "the count", "one too many"],
)
@in_a_loop
async def test_row_25_rows_that_were_removed_stop_the_start(
    tmp_path: Path, removed: tuple[str, ...]
) -> None:
    await write_three(tmp_path)
    tamper(tmp_path, *removed)

    with pytest.raises(CannotStart) as refusal:
        open_journal(tmp_path, FakeClock())

    assert refusal.value.code == "journal_incomplete"
    assert "state rebuild" in refusal.value.hint


@in_a_loop
async def test_row_25_an_old_copy_of_the_journal_stops_the_start(tmp_path: Path) -> None:
    await write_three(tmp_path)
    shutil.copyfile(tmp_path / FILE_NAME, tmp_path / "old")
    journal = open_journal(tmp_path, FakeClock())
    await journal.record([Record(OPEN, Started(1))])
    await journal.close()
    (tmp_path / "old").replace(tmp_path / FILE_NAME)

    with pytest.raises(CannotStart) as refusal:
        open_journal(tmp_path, FakeClock())

    assert refusal.value.code == "journal_rolled_back"
    assert "state rebuild" in refusal.value.hint


@in_a_loop
async def test_an_anchor_that_lags_behind_after_a_power_cut_is_no_harm(tmp_path: Path) -> None:
    await write_three(tmp_path)
    anchor = tmp_path / f"{FILE_NAME}.anchor"
    before = anchor.read_bytes()
    journal = open_journal(tmp_path, FakeClock())
    await journal.record([Record(OPEN, Started(1))])
    await journal.close()

    for content in (before, b"", before[:200], bytes(256)):
        anchor.write_bytes(content)
        await open_journal(tmp_path, FakeClock()).close()


@in_a_loop
async def test_row_25_a_page_that_cannot_be_read_is_told_as_what_it_is(tmp_path: Path) -> None:
    await write_three(tmp_path)
    garble(tmp_path)

    for attempt in (
        lambda: open_reader(tmp_path).summaries(),
        lambda: open_journal(tmp_path, FakeClock()),
    ):
        with pytest.raises(JournalDamaged) as told:
            attempt()
        assert told.value.code == "journal_damaged"
        assert "restore a backup" in told.value.hint


# While the daemon runs.


@in_a_loop
async def test_row_25_a_page_that_the_slow_look_cannot_read_is_told_as_what_it_is(
    tmp_path: Path,
) -> None:
    await write_three(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    garble(tmp_path)
    with pytest.raises(JournalDamaged, match="cannot be read"):
        await journal.look_at(0)


@in_a_loop
async def test_row_25_a_page_that_the_count_of_all_rows_cannot_read_is_told_so_too(
    tmp_path: Path,
) -> None:
    await write_three(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    last = await journal.look_at(0)
    assert last
    garble(tmp_path)  # what was looked at is remembered; who counts reads the file anew
    with pytest.raises(JournalDamaged, match="cannot be read"):
        await journal.look_at(last)


def alerts(journal: SqliteJournal) -> list[tuple[str, str]]:
    """Code and subject of everything that was noticed."""
    events = [entry.event for entry in journal.reader.after(0, 1_000)]
    return [(event.code, event.subject) for event in events if isinstance(event, Noticed)]


async def scrub(journal: SqliteJournal) -> None:
    seq = await journal.look_at(0)
    while seq:
        seq = await journal.look_at(seq)


@pytest.mark.parametrize(
    "harm",
    [
        lambda f: damage(f, "facts", "intents", "seq = 2"),
        lambda f: damage(f, "event", "events", "seq = 5"),
        lambda f: tamper(f, "UPDATE intents SET state = 'failed' WHERE seq = 2"),
        lambda f: tamper(f, "UPDATE intents SET received_at = 0 WHERE seq = 2"),
    ],
    ids=["facts", "event", "state", "moment"],
)
@in_a_loop
async def test_row_25_the_slow_scrub_finds_what_was_altered_in_finished_intents(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    await write_three(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    await scrub(journal)
    assert (journal.reader.damaged(), journal.is_incomplete) == ([], False)
    harm(tmp_path)

    await scrub(journal)

    assert alerts(journal) == [("row_set_aside", DONE)]
    assert [each.intent_id for each in journal.reader.damaged()] == [DONE]
    await journal.close()


@in_a_loop
async def test_row_25_a_look_that_is_broken_off_leaves_no_row_set_aside_without_its_alert(
    tmp_path: Path,
) -> None:
    await write_three(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    damage(tmp_path, "facts", "intents", "seq = 2")
    look = asyncio.create_task(journal.look_at(0))
    await asyncio.sleep(0)  # it has asked for the write by now
    look.cancel()
    await asyncio.wait({look})

    await journal.record([Record(OPEN, Started(1))])

    assert [each.intent_id for each in journal.reader.damaged()] == [DONE]
    assert alerts(journal) == [("row_set_aside", DONE)]
    await journal.close()


@in_a_loop
async def test_row_25_the_slow_scrub_finds_that_a_row_was_exchanged_for_a_forgotten_one(
    tmp_path: Path,
) -> None:
    await write_three(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    await journal.record([admission(4)])
    await journal.close()
    shutil.copyfile(tmp_path / FILE_NAME, tmp_path / "old")
    journal = open_journal(tmp_path, FakeClock())
    await journal.discard([number_id(4)], "ops")
    assert journal.reader.known_ids([number_id(4)]), "only what was set aside is discarded"
    await journal.close()
    damage(tmp_path, "facts", "intents", f"id = '{number_id(4)}'")
    journal = open_journal(tmp_path, FakeClock())
    await journal.discard([number_id(4)], "ops")
    tamper(
        tmp_path,
        f"ATTACH '{tmp_path / 'old'}' AS old",
        f"INSERT INTO intents SELECT * FROM old.intents WHERE id = '{number_id(4)}'",
        "INSERT INTO events SELECT * FROM old.events WHERE seq = 6",
        "DELETE FROM intents WHERE seq = 1",
        "DELETE FROM events WHERE intent = 1",
    )

    await scrub(journal)

    assert journal.is_incomplete
    await journal.close()


@in_a_loop
async def test_row_25_what_is_set_aside_at_start_is_told_whoever_opens_the_journal(
    tmp_path: Path,
) -> None:
    await write_three(tmp_path)
    damage(tmp_path, "body", "intents", "seq = 1")

    for _ in range(2):
        journal = open_journal(tmp_path, FakeClock())
        await journal.close()

    journal = open_journal(tmp_path, FakeClock())
    assert alerts(journal) == [("row_set_aside", OPEN)]
    await journal.close()


@in_a_loop
async def test_a_discard_says_who_dropped_what(tmp_path: Path) -> None:
    await write_three(tmp_path)
    damage(tmp_path, "body", "intents", "seq = 1")
    journal = open_journal(tmp_path, FakeClock())

    dropped = await journal.discard([OPEN, BEHIND, OPEN], "ops")

    *_, last = [entry.event for entry in journal.reader.noticed_of(OPEN)]
    assert isinstance(last, Noticed)
    assert (dropped, last.code, last.by) == ([OPEN], "row_discarded", "ops")
    assert "altered" in last.details["why"]
    await journal.close()


@in_a_loop
async def test_what_was_set_aside_can_be_discarded_and_taken_anew(tmp_path: Path) -> None:
    await write_three(tmp_path)
    damage(tmp_path, "body", "intents", "seq = 1")
    journal = open_journal(tmp_path, FakeClock())

    await journal.discard([OPEN], "ops")

    assert journal.reader.damaged() == []
    assert journal.reader.known_ids([OPEN]) == set()
    await journal.record([admission(1)])
    await journal.close()
    await open_journal(tmp_path, FakeClock()).close()


@in_a_loop
async def test_a_scrub_that_ends_while_the_folder_is_away_ends_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    await write_three(folder)
    journal = open_journal(folder, FakeClock())
    folder.rename(tmp_path / "away")
    await scrub(journal)
    (tmp_path / "away").rename(folder)
    await scrub(journal)
    assert not journal.is_incomplete
    (folder / FILE_NAME).rename(tmp_path / FILE_NAME)
    with pytest.raises(CannotStart):
        await scrub(journal)
    await journal.close()
