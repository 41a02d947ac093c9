"""The journal as a file: who may read it, which files are opened, and what a disk does to it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import apsw
import pytest

from conductor_loop.adapters.journal import database, open_journal, open_reader
from conductor_loop.adapters.journal.database import ANCHOR_SUFFIX, FILE_NAME, SCHEMA_VERSION
from conductor_loop.core.events import Admitted, Published, Run, Started
from conductor_loop.core.faults import CannotStart, DurabilityLost
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Record
from conductor_loop.core.states import State
from tests.fakes import BEGINNING, FakeClock, in_a_loop, number_id, receipt_of
from tests.fixtures.journals import make

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = sorted((ROOT / "tests/fixtures/journals").glob("schema-*.db"))
TARGET = Target("ns", "a")


def admission(number: int) -> Record:
    receipt = receipt_of(b"intent-%d.json" % number, b"{}")
    return Record(number_id(number), Admitted(receipt, *TARGET, priority=5), b"{}")


async def journal_with(folder: Path, *records: Record) -> None:
    journal = open_journal(folder, FakeClock())
    await journal.record(records)
    await journal.close()


def in_a_process(mode: str, folder: Path, *around: str) -> list[str]:
    return [*around, sys.executable, "-m", "tests.system.journal_process", mode, str(folder)]


@contextmanager
def process(mode: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A journal process that is killed in the end, whatever happens."""
    child = subprocess.Popen(
        in_a_process(mode, folder),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def facts_of(command: list[str]) -> list[dict[str, object]]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def schema_of(path: Path) -> list[object]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()
    return list(rows)


# Who may read it.


@in_a_loop
async def test_only_its_owner_may_read_the_journal_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = open_journal(tmp_path, FakeClock())
        await journal.record([admission(1)])
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("**/*")}
        await journal.close()
    finally:
        os.umask(before)

    files = [
        FILE_NAME,
        f"{FILE_NAME}-wal",
        f"{FILE_NAME}-shm",
        f"{FILE_NAME}.anchor",
        "journal.kek",
    ]
    assert modes == dict.fromkeys(files, 0o600) | {"keys": 0o700}


# Which files are opened.


@in_a_loop
async def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    await journal_with(tmp_path, admission(1))
    connection = apsw.Connection(str(tmp_path / FILE_NAME))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = (tmp_path / FILE_NAME).read_bytes()

    for attempt in (lambda: open_journal(tmp_path, FakeClock()), lambda: open_reader(tmp_path)):
        with pytest.raises(CannotStart, match=f"schema {SCHEMA_VERSION + 1}") as refusal:
            attempt()
        assert refusal.value.code == "journal_newer"
        assert refusal.value.hint

    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b"no journal at all " * 400, b"{}", b"SQLite format 3\0" * 99])
@in_a_loop
async def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)

    for attempt in (lambda: open_journal(tmp_path, FakeClock()), lambda: open_reader(tmp_path)):
        with pytest.raises(CannotStart) as refusal:
            attempt()
        assert refusal.value.code == "journal_unreadable"
        assert str(path) in refusal.value.message
        assert "conductor-loop state rebuild" in refusal.value.hint

    assert path.read_bytes() == content


@pytest.mark.parametrize("left", ["anchor", "audit log"])
@pytest.mark.parametrize("content", [None, b""], ids=["gone", "empty"])
@in_a_loop
async def test_a_journal_that_is_gone_is_not_made_anew_where_something_tells_of_it(
    tmp_path: Path, left: str, content: bytes | None
) -> None:
    await journal_with(tmp_path, admission(1))
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        if left != "anchor" or not path.name.endswith(ANCHOR_SUFFIX):
            path.unlink()
    if left == "audit log":
        (tmp_path / "audit").mkdir()
        (tmp_path / "audit/audit-000000000001.jsonl").write_text("{}\n")
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    before = {path: path.stat().st_size for path in tmp_path.iterdir()}

    for attempt in (lambda: open_journal(tmp_path, FakeClock()), lambda: open_reader(tmp_path)):
        with pytest.raises(CannotStart) as refusal:
            attempt()
        assert refusal.value.code == "journal_gone"
        assert "conductor-loop restore" in refusal.value.hint
        assert "conductor-loop state rebuild" in refusal.value.hint

    assert {path: path.stat().st_size for path in tmp_path.iterdir()} == before
    # What puts one there says so.
    await open_journal(tmp_path, FakeClock(), is_copy=True).close()


@pytest.mark.parametrize("obstacle", ["folder", "link"])
@in_a_loop
async def test_what_stands_in_the_journals_place_is_not_followed(
    tmp_path: Path, obstacle: str
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.touch()
    if obstacle == "folder":
        (tmp_path / FILE_NAME).mkdir()
    else:
        (tmp_path / FILE_NAME).symlink_to(elsewhere)

    with pytest.raises(CannotStart) as refusal:
        open_journal(tmp_path, FakeClock())

    assert refusal.value.code == "journal_unwritable"
    assert elsewhere.read_bytes() == b""


@pytest.mark.parametrize("content", [None, b""], ids=["no file", "only just being made"])
def test_a_reader_makes_no_journal(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    before = list(tmp_path.iterdir())

    with pytest.raises(CannotStart) as refusal:
        open_reader(tmp_path)

    assert refusal.value.code == "no_journal"
    assert list(tmp_path.iterdir()) == before


# Earlier versions.


def test_the_journal_of_each_schema_version_is_kept_as_a_fixture() -> None:
    expected = [f"schema-{version}.db" for version in range(1, SCHEMA_VERSION + 1)]

    assert [path.name for path in FIXTURES] == expected


@in_a_loop
async def test_the_newest_fixture_has_the_schema_that_is_written_today(tmp_path: Path) -> None:
    await journal_with(tmp_path)

    # When this fails before a release: python -m tests.fixtures.journals.make
    assert schema_of(FIXTURES[-1]) == schema_of(tmp_path / FILE_NAME)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
@in_a_loop
async def test_a_journal_of_a_released_schema_opens_with_everything_in_it(
    tmp_path: Path, fixture: Path
) -> None:
    shutil.copyfile(fixture, tmp_path / FILE_NAME)
    make.put_key(tmp_path)
    journal = open_journal(tmp_path, FakeClock())
    reader = journal.reader

    stories = [[e.event for e in reader.history(number_id(n))[1:]] for n in range(1, 9)]
    waiting, running, backing_off, handed_back = reader.unfinished()

    assert stories == make.STORIES
    assert reader.counts() == dict.fromkeys(set(State) - {State.NEW}, 1) | {State.WAITING: 2}
    assert (waiting.target, running.runs, backing_off.failures) == (Target("ns", "t1"), 1, 1)
    assert (handed_back.runs, handed_back.failures, handed_back.crashes) == (2, 0, 1)
    assert reader.body(waiting.intent_id) == make.admission(1).body
    assert [pause.target for pause in reader.pauses()] == ["ns/t1"]
    assert [(entry.seq, why) for entry, why in reader.parked()] == [(1, make.PARKED)]
    assert reader.imported(*make.PROCESSED_BEFORE)
    assert len(reader.after(0, 1_000)) == reader.last_seq()

    await journal.lease([(waiting.intent_id, 1)])
    run = Run(1, 0, BEGINNING, timedelta(seconds=1))
    await journal.record([Record(waiting.intent_id, Published(run))])
    assert reader.state(waiting.intent_id) is State.PUBLISHED
    await journal.close()


@in_a_loop
async def test_a_migration_leaves_a_private_copy_of_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal_with(tmp_path, admission(1))
    # There is no second schema yet: this is the one constant and the one file it would bring.
    monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(database, "_script", "CREATE TABLE step_{} (x)".format)

    await journal_with(tmp_path, admission(2))

    copy = tmp_path / f"{FILE_NAME}.before-{SCHEMA_VERSION + 1}"
    monkeypatch.undo()
    (tmp_path / "copy").mkdir()
    copy.rename(tmp_path / "copy" / FILE_NAME)
    shutil.copytree(tmp_path / "keys", tmp_path / "copy/keys")
    before = open_reader(tmp_path / "copy")
    assert stat.S_IMODE((tmp_path / "copy" / FILE_NAME).stat().st_mode) == 0o600
    assert (before.last_seq(), before.body(number_id(1))) == (1, b"{}")
    assert f"step_{SCHEMA_VERSION + 1}" in str(schema_of(tmp_path / FILE_NAME))
    before.close()


@in_a_loop
async def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal_with(tmp_path, admission(1))
    monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(database, "_script", lambda _: "CREATE TABLE extra (x); DROP TABLE missing")

    with pytest.raises(apsw.SQLError):
        open_journal(tmp_path, FakeClock())

    monkeypatch.undo()
    reader = open_reader(tmp_path)
    assert reader.last_seq() == 1
    assert "extra" not in str(schema_of(tmp_path / FILE_NAME))
    reader.close()


# Other processes.


@in_a_loop
async def test_readers_in_other_processes_see_every_commit_and_hold_up_none(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path, FakeClock())
    with process("read", tmp_path) as reader:
        for number in range(1, 4):
            await journal.record([admission(number), *_run(number)])

            assert _ask(reader) == {"committed": 3 * number, "events": 3 * number}
    await journal.close()


def _run(number: int) -> list[Record]:
    run = Run(1, 0, BEGINNING, timedelta(seconds=1))
    return [Record(number_id(number), event) for event in (Started(1), Published(run))]


def _ask(child: subprocess.Popen[str]) -> object:
    _pipe(child.stdin).write("what is committed?\n")
    _pipe(child.stdin).flush()
    return json.loads(_pipe(child.stdout).readline())


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def test_what_was_committed_outlives_the_death_of_the_process(tmp_path: Path) -> None:
    with process("die", tmp_path) as writer:
        told = json.loads(_pipe(writer.stdout).readline())
        writer.kill()
        writer.wait()

        reader = open_reader(tmp_path)

        assert told == {"committed": 5}
        assert len(reader.unfinished()) == 5
        reader.close()


# What a disk does to it.


@pytest.mark.needs("unshare", "mount")
def test_a_full_disk_is_waited_out_until_told_to_give_up(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    around = ["unshare", "-rm", "sh", "-c", mount, str(tmp_path)]
    if subprocess.run([*around, "true"], capture_output=True).returncode:
        pytest.skip("no file system of our own can be mounted here")

    waiting, gone_on, given_up, afterwards = facts_of(in_a_process("full", tmp_path, *around))

    assert waiting == {"waits": True, "committed": 1}
    assert gone_on == {"went_on": True, "committed": 2}
    # The one being written, the one behind it, the relay's wait, and whatever comes later.
    assert given_up == {"gave_up": ["NoRoom"] * 4}
    assert afterwards == {"first_seq_afterwards": 3}


def test_a_write_that_fails_stops_the_journal_for_everybody(tmp_path: Path) -> None:
    (facts,) = facts_of(in_a_process("limit", tmp_path))

    assert facts == {"ends": ["DurabilityLost"] * 3, "lacks_room": False}
    reader = open_reader(tmp_path)
    assert reader.last_seq() == 1
    reader.close()


@pytest.mark.needs("strace")
def test_a_used_up_quota_is_waited_out_like_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    refuse = ["-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EDQUOT:when=90..91"]
    around = ["strace", "-f", "-o", "/dev/null", "-P", f"{folder}/{FILE_NAME}-wal", *refuse]

    done = subprocess.run(
        in_a_process("many", folder, *around), cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert done.stdout == '{"committed": 40}\n', done.stderr
    assert "no room for the journal" in done.stderr


@in_a_loop
async def test_a_value_that_no_column_can_hold_is_told_and_not_waited_for(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, FakeClock())
    await journal.record([admission(1)])

    with pytest.raises(DurabilityLost, match="surrogates"):
        await journal.advance(1, filed=[(number_id(1), "\udcff")])

    await journal.close()


# What goes wrong beside a commit.


@in_a_loop
async def test_an_anchor_that_cannot_be_written_lags_behind_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await journal_with(tmp_path)
    anchor = tmp_path / (FILE_NAME + ANCHOR_SUFFIX)
    anchor.unlink()
    try:
        os.mknod(anchor, stat.S_IFCHR | 0o600, os.makedev(1, 7))  # another /dev/full
        os.close(os.open(anchor, os.O_RDWR))
    except PermissionError:
        pytest.skip("only root may make a device, and not everywhere")
    await journal_with(tmp_path, admission(1), admission(2))
    anchor.unlink()
    journal = open_journal(tmp_path, FakeClock())
    assert journal.reader.counts() == {State.WAITING: 2}
    await journal.close()
    assert [r.getMessage() for r in caplog.records if "anchor cannot" in r.getMessage()] == [
        "the journal's anchor cannot be written: No space left on device"
    ]


class ClockThatFailsTheJournal(FakeClock):
    """A surprise on the journal's own thread."""

    def now(self) -> datetime:
        if threading.current_thread().name == "journal":
            raise RuntimeError("made up")
        return super().now()


@in_a_loop
async def test_a_surprise_on_the_journals_thread_lets_nobody_wait_for_ever(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ClockThatFailsTheJournal())
    with pytest.raises(DurabilityLost, match="made up"):
        await journal.record([admission(1)])
    with pytest.raises(DurabilityLost, match="made up"):
        await journal.record([admission(2)])
    await journal.close()
