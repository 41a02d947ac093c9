"""The audit log on disk: what it tells, what it survives, how it goes on in the next file."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from conductor_loop import disk
from conductor_loop.conductor.relay import Relay
from conductor_loop.core.audit.merkle import Frontier
from conductor_loop.core.audit.note import key_id, parse_checkpoint
from conductor_loop.core.audit.records import AuditRecord, decode_line
from conductor_loop.core.events import Noticed, Paused, Started
from conductor_loop.core.faults import CannotStart, DurabilityLost
from conductor_loop.core.records import Entry, Record
from conductor_loop.core.security_events import AUDIT, LOST_TO, RESTORED, TOLD_TO, Severity
from conductor_loop.ports import Projection, Steps
from conductor_loop.projections.audit.finished import FinishedFiles
from conductor_loop.projections.audit.log import AuditLog
from conductor_loop.projections.audit.start import Unkept, look_at_unkept
from conductor_loop.projections.verdicts import Verdicts
from tests.audit_log import POLICY, Stage
from tests.fake_journal import FakeJournal, Memory
from tests.fakes import FakeClock, in_a_loop
from tests.fakes_notices import NoticesInMemory
from tests.handoff_folder import (
    ABOUT,
    NAME,
    PUBLISHED,
    admitted,
    carried_out,
    handoff_folder,
    id_of,
)
from tests.signing import KNOWN, SIGNER

SMALL = replace(POLICY, file_bytes=4 << 10)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def _assert_good(stage: Stage) -> None:
    verified = stage.verified()
    assert verified.faults == []
    assert not verified.is_broken_off


def test_each_entry_of_the_journal_is_one_record_in_order(stage: Stage) -> None:
    stage.work(range(1, 4))
    told = [record.journal_seq for record in stage.records() if record.journal_seq]
    assert told == list(range(1, 10))
    assert [record.seq for record in stage.records()] == list(range(1, 12))
    assert [stage.records()[0].action, stage.records()[-1].action] == ["log.opened", "log.closed"]
    _assert_good(stage)


def test_nobody_else_may_read_it(stage: Stage) -> None:
    previous = os.umask(0)
    try:
        stage.work([1])
    finally:
        os.umask(previous)
    assert stat.S_IMODE(stage.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in stage.folder.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o750, 0o701])
def test_a_folder_that_others_may_enter_is_refused(stage: Stage, mode: int) -> None:
    stage.work([1])
    stage.folder.chmod(mode)
    with pytest.raises(CannotStart, match="others may enter"), stage.opened():
        pass


def test_a_start_without_room_is_refused_with_a_reason(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.work([1])
    before = stage.files[0].read_bytes()
    monkeypatch.setattr("os.write", _full_after(10, errno.ENOSPC))
    with pytest.raises(CannotStart, match="No space left") as raised, stage.opened():
        pass
    assert raised.value.code == "audit_not_usable"
    assert stage.files[0].read_bytes() == before


def test_a_link_in_the_place_of_the_log_is_refused(stage: Stage, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    stage.folder.symlink_to(elsewhere)
    with pytest.raises(CannotStart, match="cannot be opened"), stage.opened():
        pass
    assert list(elsewhere.iterdir()) == []


def test_only_the_newest_record_of_a_batch_is_signed(stage: Stage) -> None:
    stage.work(range(1, 5), batch=6)
    signed = [record.seq for record in stage.records() if record.signature]
    assert signed == [1, 7, 13, 14]


def test_applying_again_changes_nothing(stage: Stage) -> None:
    entries = stage.run(1) + stage.run(2)
    with stage.opened() as log:
        carried_out(log.apply(entries))
        before = stage.files[0].read_bytes()
        for start in range(len(entries)):
            carried_out(log.apply(entries[start:]))
        assert stage.files[0].read_bytes() == before


def test_each_entry_knows_its_record_also_after_a_restart(stage: Stage) -> None:
    stage.work(range(1, 5))
    with stage.opened() as log:
        seqs = [log.seq_of(entry) for entry in range(1, 14)]
    by_entry = {record.journal_seq: record.seq for record in stage.records()}
    assert seqs == [by_entry.get(entry) for entry in range(1, 14)]
    assert seqs[-1] is None


def test_a_batch_that_another_view_could_not_take_is_told_all_the_same(stage: Stage) -> None:
    """Such an entry may be set aside in the end, and must not be missing here."""
    entries = stage.run(1)
    with stage.opened() as log:
        steps = log.apply(entries)
        next(steps)
        steps.close()
        before = stage.files[0].read_bytes()
        for entry in entries:
            carried_out(log.apply([entry]))
        assert stage.files[0].read_bytes() == before
        assert log.seq_of(entries[0].seq) == 2
    _assert_good(stage)


@in_a_loop
async def test_no_entry_is_set_aside_past_the_log(stage: Stage) -> None:
    journal = FakeJournal(Memory(), FakeClock())
    (seq,) = await journal.record([Record(id_of(1), admitted(), b"{}")])
    clock = FakeClock()
    with stage.opened() as log:
        relay = Relay(journal, [log, _Refusing()], [], clock, lambda: False)
        running = asyncio.create_task(relay.run())
        while relay.parked_count == 0:
            clock.advance(10)
            await asyncio.sleep(0)
        running.cancel()
    assert [record.journal_seq for record in stage.records()] == [None, seq, None]
    assert [entry.seq for entry, _ in journal.parked()] == [seq]


class _Refusing:
    """A view that cannot be written for good."""

    def apply(self, entries: Sequence[Entry]) -> Steps:
        """See `ports.Projection`."""
        if entries:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        yield ()
        return ()


@in_a_loop
async def test_a_verdict_shows_after_the_signature_over_its_record_is_synced(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[tuple[int, set[str]]]()
    with handoff_folder(tmp_path / "handoff") as handoff, stage.opened() as log:
        entries = handoff.run(1, PUBLISHED)
        views: list[Projection] = [
            log,
            Verdicts(
                handoff.folders, handoff.catalog, ABOUT, SIGNER, NoticesInMemory(), log.seq_of
            ),
        ]
        sync = disk.sync_each

        def noting(handles: Sequence[int]) -> None:
            shown = {name for name in handoff.names("status") if not name.startswith(".")}
            seen.append((stage.verified().signed_journal_seq, shown))
            sync(handles)

        monkeypatch.setattr(disk, "sync_each", noting)
        relay = Relay(FakeJournal(Memory(), FakeClock()), views, [], FakeClock(), lambda: False)
        await relay._project(entries)
        assert handoff.names("status") == {f"{NAME.decode()}.status"}
    assert seen[0] == (entries[-1].seq, set())


def test_nothing_is_durable_before_its_signature_is(stage: Stage) -> None:
    """What a view yields for syncing already has the signature over everything in the batch."""
    with stage.opened() as log:
        steps = log.apply(stage.run(1))
        (handle,) = next(steps)
        assert os.path.samestat(os.fstat(handle), stage.files[0].stat())
        assert stage.verified().signed_seq == 4
        steps.close()


def test_a_log_that_was_changed_under_the_daemon_stops_it(stage: Stage) -> None:
    with stage.opened() as log:
        stage.relay(log, stage.run(1))
        whole = stage.files[0].read_bytes()
        stage.files[0].write_bytes(whole[:-1])
        with pytest.raises(DurabilityLost, match="changed by somebody else"):
            stage.relay(log, stage.run(2))
        stage.files[0].write_bytes(whole)


def test_a_log_that_was_removed_under_the_daemon_stops_it(stage: Stage) -> None:
    with pytest.raises(DurabilityLost, match="was removed"), stage.opened() as log:
        _relay_without_file(stage, log)


def _relay_without_file(stage: Stage, log: AuditLog) -> None:
    stage.files[0].unlink()
    stage.relay(log, stage.run(1))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_waited_for_with_the_log_as_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with stage.opened() as log:
        before = stage.files[0].read_bytes()
        entries = stage.run(1)
        with monkeypatch.context() as patch:
            patch.setattr("os.write", _full_after(50, number))
            with pytest.raises(OSError, match=os.strerror(number)):
                carried_out(log.apply(entries))
        assert stage.files[0].read_bytes() == before
        stage.relay(log, entries)
    _assert_good(stage)


def test_what_does_not_pass_stops_the_daemon_rather_than_leaving_an_entry_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.opened() as log, monkeypatch.context() as patch:
        patch.setattr("os.write", _full_after(0, errno.EFBIG))
        with pytest.raises(DurabilityLost, match="cannot be written"):
            carried_out(log.apply(stage.run(1)))


def _full_after(room: int, number: int) -> object:
    write = os.write

    def limited(handle: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(number, os.strerror(number))
        taken, room = min(room, len(data)), 0
        return write(handle, data[:taken])

    return limited


# Crashes.


class _Killed(BaseException):
    pass


def _crash(stage: Stage, count: int = 3) -> None:
    """A daemon that dies without a word, its last batch not relayed any further."""
    with suppress(_Killed), stage.opened() as log:
        stage.relay(log, stage.run(1))
        carried_out(log.apply(stage.run(2)[:count]))
        raise _Killed


@pytest.mark.parametrize(("count", "step"), [(1, 1), (3, 61)])
def test_cut_at_every_byte_of_its_last_batch_it_goes_on_and_verifies(
    tmp_path: Path, count: int, step: int
) -> None:
    stage = Stage(tmp_path)
    _crash(stage, count)
    whole = stage.files[0].read_bytes()
    signed_end = _end_of_line(whole, 4)
    entries = stage.journal.catalog.entries
    for length in (*range(signed_end, len(whole), step), len(whole) - 1, len(whole)):
        stage.files[0].write_bytes(whole[:length])
        with stage.opened() as log:
            stage.relay(log, entries)
        stage.journal.relayed = 3
        verified = stage.verified()
        assert verified.faults == [], length
        assert verified.signed_journal_seq == entries[-1].seq, length
        opened = [r for r in stage.records() if r.action == "log.opened"]
        cut = 0 if length == len(whole) else length - signed_end
        assert opened[-1].details["cut_bytes"] == cut


def _end_of_line(data: bytes, number: int) -> int:
    return list(itertools.accumulate(map(len, data.splitlines(keepends=True))))[number - 1]


def test_a_crash_shows_as_a_log_that_was_not_closed(stage: Stage) -> None:
    _crash(stage)
    stage.work([3])
    opened = [
        record.details["after"] for record in stage.records() if record.action == "log.opened"
    ]
    assert opened == ["nothing", "intent.published"]


def test_a_new_file_without_a_synced_record_is_as_if_it_were_not_there(stage: Stage) -> None:
    stage.work([1])
    for left in (b"", b'{"action":"log.conti', stage.files[0].read_bytes()[:20] + b"\n"):
        (stage.folder / "audit-000000000099.jsonl").write_bytes(left)
        stage.work([2 + len(left)])
        assert len(stage.files) == 1
    _assert_good(stage)


def test_damage_to_what_was_durable_refuses_the_start_and_keeps_the_evidence(stage: Stage) -> None:
    _crash(stage)
    stage.change(lambda lines: lines.__setitem__(1, lines[1].replace(b"success", b"failure")))
    before = stage.files[0].read_bytes()
    with pytest.raises(CannotStart, match="damaged after record") as raised, stage.opened():
        pass
    assert raised.value.code == "audit_damaged"
    assert stage.files[0].read_bytes() == before


# What the log does not tell.


def test_a_log_that_begins_late_says_what_it_does_not_tell_and_what_is_open(stage: Stage) -> None:
    stage.run(1)
    stage.record(2, admitted(), Started(1))
    stage.journal.relayed = 5
    with stage.opened() as log:
        stage.relay(log, stage.record(2, PUBLISHED))
    (gap,) = stage.verified().gaps
    assert (gap.after, gap.to, gap.reason) == (0, 5, "begun")
    assert len(gap.open) == 1
    _assert_good(stage)


def test_what_happened_while_it_was_switched_off_is_a_gap_of_its_own(stage: Stage) -> None:
    stage.work([1])
    stage.journal.catalog.record(None, Noticed("switched_off", Severity.MEDIUM, AUDIT))
    stage.run(2)
    stage.journal.relayed = 7
    stage.work([3])
    (gap,) = stage.verified().gaps
    assert (gap.after, gap.to, gap.reason) == (3, 7, "switched_off")
    _assert_good(stage)


def test_an_end_that_is_missing_without_a_reason_is_told_as_such(stage: Stage) -> None:
    stage.work([1, 2], batch=3)
    stage.change(lambda lines: lines.__delitem__(slice(4, None)))
    stage.work([3])
    (gap,) = stage.verified().gaps
    assert (gap.after, gap.to, gap.reason) == (3, 6, "unexplained")
    (told,) = [record for record in stage.records() if record.action == "log.gap"]
    assert told.severity == Severity.CRITICAL


def test_row_25_an_older_journal_than_the_log_tells_of_stops_the_start(stage: Stage) -> None:
    stage.work([1, 2])
    stage.journal = Stage(stage.state).journal

    with pytest.raises(CannotStart, match="tells of entry 6") as raised, stage.opened():
        pass

    assert raised.value.code == "journal_rolled_back"
    assert "state rebuild" in raised.value.hint


def _start(stage: Stage, *, is_kept: bool = True, told_to: int = 0) -> None:
    """Journal what a daemon says of itself at its start."""
    stage.journal.catalog.record(None, Noticed("daemon_started", Severity.INFO))
    if not is_kept:
        details = {TOLD_TO: str(told_to)}
        off = Noticed("switched_off", Severity.MEDIUM, AUDIT, details)
        stage.journal.catalog.record(None, off)


def _reason(stage: Stage) -> str:
    """Why the log that is taken up now does not tell everything; then it does."""
    stage.journal.relayed = stage.journal.catalog.last_seq()
    with stage.opened() as log:
        assert log.gap is not None
        return log.gap.reason


def test_row_26_a_log_that_is_gone_although_a_daemon_kept_one_is_unexplained(
    stage: Stage,
) -> None:
    _start(stage)
    stage.run(1)
    assert _reason(stage) == "unexplained"
    (told,) = [record for record in stage.records() if record.action == "log.gap"]
    assert told.severity == Severity.CRITICAL


def test_a_log_that_was_never_kept_begins_with_a_reason(stage: Stage) -> None:
    _start(stage, is_kept=False)
    stage.run(1)
    assert _reason(stage) == "switched_off"


def test_row_26_having_been_switched_off_once_explains_nothing_later(stage: Stage) -> None:
    _start(stage, is_kept=False)
    stage.run(1)
    _start(stage)
    stage.run(2)
    assert _reason(stage) == "unexplained"


def test_row_26_what_the_log_told_when_it_was_switched_off_must_still_be_there(
    stage: Stage,
) -> None:
    _start(stage)
    last = stage.run(1)[-1].seq
    _start(stage, is_kept=False, told_to=last)
    stage.run(2)
    assert _reason(stage) == "unexplained"


def test_a_journal_put_back_explains_what_came_before_it(stage: Stage) -> None:
    _start(stage)
    stage.run(1)
    restored = Noticed(RESTORED, Severity.HIGH, "journal", {LOST_TO: "5"})
    stage.journal.catalog.record(None, restored)
    assert _reason(stage) == "restored"


def _looked_at(stage: Stage) -> Unkept:
    state = disk.open_folder(os.fspath(stage.state))
    try:
        return look_at_unkept(state, stage.journal, stage.journal.catalog)
    finally:
        os.close(state)


def test_row_25_an_older_journal_stops_the_start_also_with_the_log_switched_off(
    stage: Stage,
) -> None:
    stage.work([1, 2])
    before = stage.files[0].read_bytes()
    stage.journal = Stage(stage.state).journal

    with pytest.raises(CannotStart, match="tells of entry 6") as raised:
        _looked_at(stage)

    assert raised.value.code == "journal_rolled_back"
    assert stage.files[0].read_bytes() == before


def test_a_log_that_is_whole_when_it_is_switched_off_is_no_cause_for_alarm(stage: Stage) -> None:
    _start(stage)
    stage.work([1])
    assert _looked_at(stage) == Unkept(told_to=4, is_cut=False)
    _start(stage, is_kept=False, told_to=4)
    stage.run(2)
    stage.journal.relayed = stage.journal.catalog.last_seq()
    assert _looked_at(stage) == Unkept(told_to=4, is_cut=False)


def test_row_26_a_log_that_is_gone_when_it_is_switched_off_stays_missed(stage: Stage) -> None:
    _start(stage)
    stage.work([1])
    stage.journal.relayed = 4
    stage.files[0].unlink()
    found = _looked_at(stage)
    assert found == Unkept(told_to=4, is_cut=True)
    _start(stage, is_kept=False, told_to=found.told_to)
    assert _reason(stage) == "unexplained"


# Finished files.


def _finished(stage: Stage) -> list[str]:
    """A whole round; which files are not as they were signed."""
    files = FinishedFiles(os.fspath(stage.state), KNOWN)
    step, found = files.examine(0)
    suspects = [*found]
    while step:
        step, found = files.examine(step)
        suspects += found
    assert all(files.still(suspect) for suspect in suspects)
    return [suspect.subject for suspect in suspects]


@pytest.fixture
def rotated(stage: Stage) -> Stage:
    """A log of several files."""
    stage.policy = SMALL
    stage.work(range(1, 40), batch=5)
    assert len(stage.files) > 3
    return stage


def test_a_log_of_several_files_is_found_as_it_was_signed(rotated: Stage) -> None:
    assert _finished(rotated) == []


@pytest.mark.parametrize("number", [0, 1])
def test_row_26_one_bit_of_a_finished_file_is_missed(rotated: Stage, number: int) -> None:
    path = rotated.files[number]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert _finished(rotated) == [path.name]


def test_row_26_a_finished_file_that_is_gone_is_missed(rotated: Stage) -> None:
    before = rotated.files[0].name
    rotated.files[1].unlink()
    assert _finished(rotated) == [before]


def test_a_large_file_is_looked_at_in_steps(
    rotated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conductor_loop.projections.audit.finished._STEP_BYTES", 1 << 10)
    files = FinishedFiles(os.fspath(rotated.state), KNOWN)
    steps = 0
    while files.examine(steps)[0]:
        steps += 1
    assert steps > len(rotated.files)
    assert _finished(rotated) == []


# Checkpoints and files.


def test_a_checkpoint_is_a_signed_note_of_the_tree_over_all_lines(stage: Stage) -> None:
    stage.work(range(1, 6))
    text, origin, size, root, signature = parse_checkpoint(
        (stage.folder / "checkpoint").read_bytes()
    )
    tree = Frontier()
    for line in stage.files[0].read_bytes().splitlines():
        tree.add(line)
    assert (size, root) == (tree.size, tree.root())
    assert signature[:4] == key_id(origin, SIGNER.public)
    assert KNOWN.is_signed(SIGNER.kid, text, signature[4:])


def test_row_40_the_chain_goes_on_through_rotation_under_load(stage: Stage) -> None:
    stage.policy = SMALL
    stage.work(range(1, 60), batch=5)
    stage.work(range(60, 80), batch=7)
    assert len(stage.files) > 5
    _assert_good(stage)
    assert len(stage.verified().finals) == 79
    heads = [path.read_bytes().split(b"\n")[0] for path in stage.files]
    assert all(b'"action":"log.continued"' in head for head in heads[1:])


def test_row_40_a_crash_at_any_byte_of_a_rotation_loses_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, policy=SMALL)
    stage.work(range(1, 12), batch=5)
    whole = {path: path.read_bytes() for path in stage.files}
    assert len(whole) > 1
    newest, data = max(whole.items())
    head = data.index(b"\n") + 1
    for length in (*range(0, head, 97), head - 1, head):
        for path in stage.files:
            path.unlink()
        for path, earlier in whole.items():
            path.write_bytes(earlier[:length] if path == newest else earlier)
        stage.journal.relayed = 0
        with stage.opened() as log:
            stage.relay(log, stage.journal.catalog.entries)
        _assert_good(stage)
        assert stage.verified().signed_journal_seq == len(stage.journal.catalog.entries)


def test_an_old_file_ends_at_its_age(stage: Stage) -> None:
    stage.policy = replace(POLICY, file_age=timedelta(days=7))
    stage.work([1])
    stage.clock.advance(6 * 86_400)
    stage.work([2])
    assert len(stage.files) == 1
    stage.clock.advance(86_400)
    stage.work([3])
    assert len(stage.files) == 2
    _assert_good(stage)


def test_row_40_what_is_pruned_is_told_by_a_record_and_the_rest_still_proves_itself(
    stage: Stage,
) -> None:
    stage.policy = SMALL
    stage.work(range(1, 40), batch=5)
    with stage.opened() as log:
        stage.relay(log, stage.record(40, admitted()))
        stage.clock.advance(401 * 86_400)
    anchor = stage.verified().ledger
    assert anchor is not None
    stage.policy = replace(SMALL, retention=timedelta(days=400))
    files = stage.files
    stage.work(range(41, 60), batch=5)
    assert not files[0].exists()
    (pruned,) = [record for record in stage.records() if record.action == "log.pruned"][:1]
    kept = pruned.details["kept"]
    assert isinstance(kept, dict)
    assert kept["size"] == pruned.details["last_seq"]
    assert kept["claimed"] - kept["ended"] == len(kept["open"])
    verified = stage.verified(**{f"at_{anchor.size}": anchor.tree.root().hex()})
    assert verified.faults == []
    assert verified.first_seq > 1


def test_row_24_a_clock_years_ahead_removes_no_young_file_of_the_log(stage: Stage) -> None:
    stage.policy = replace(SMALL, retention=timedelta(days=400))
    with stage.opened() as log:
        for number in range(1, 20):
            stage.relay(log, stage.run(number))
        stage.clock.wall_ahead = timedelta(days=3650)
        for number in range(20, 40):
            stage.relay(log, stage.run(number))
    assert len(stage.files) > 3
    assert stage.files[0].name == "audit-000000000001.jsonl"
    _assert_good(stage)


def test_row_24_a_clock_years_ahead_at_a_start_removes_no_young_file_of_the_log(
    stage: Stage,
) -> None:
    stage.policy = SMALL
    stage.work(range(1, 40), batch=5)
    stage.policy = replace(SMALL, retention=timedelta(days=400))
    stage.clock.wall_ahead = timedelta(days=3650)
    stage.work([40])
    assert stage.files[0].name == "audit-000000000001.jsonl"


def test_a_beginning_that_nobody_pruned_is_missing(stage: Stage) -> None:
    stage.policy = SMALL
    stage.work(range(1, 40), batch=5)
    stage.files[0].unlink()
    assert [fault.code for fault in stage.verified().faults] == ["beginning_missing"]


def test_a_start_reads_from_the_last_checkpoint_and_not_from_the_beginning(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conductor_loop.projections.audit.log._CHECKPOINT_EVERY", 20)
    with stage.opened() as log:
        for number in range(1, 200):
            stage.relay(log, stage.run(number))
    read: list[bytes] = []
    decode = "conductor_loop.projections.audit.opening.decode_line"

    def counted(line: bytes) -> AuditRecord:
        read.append(line)
        return decode_line(line)

    monkeypatch.setattr(decode, counted)
    with stage.opened():
        pass
    assert len(read) < 50
    _assert_good(stage)


def test_who_steers_is_in_the_log(stage: Stage) -> None:
    with stage.opened() as log:
        stage.relay(log, [stage.journal.catalog.record(None, Paused("alice", "a test", "ns/amf"))])
    (record,) = [r for r in stage.records() if r.action == "control.paused"]
    assert (record.actor, record.resource, record.details) == (
        "alice",
        "target/ns/amf",
        {"why": "a test"},
    )
