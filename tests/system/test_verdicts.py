"""Verdicts in a real status folder: whole, the newest of each name, and nothing followed."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from conductor_loop.core.events import Event, HandedBack, Skipped, SkipReason, Started
from conductor_loop.core.naming import LONGEST_NAME, verdict_name
from conductor_loop.core.records import Entry
from conductor_loop.projections.verdicts import Verdicts, verdict_owner
from tests.fakes_notices import NoticesInMemory
from tests.handoff_folder import (
    ABOUT,
    CANCELLED,
    FAILED,
    NAME,
    NOT_AUDITED,
    PUBLISHED,
    RUN,
    HandoffFolder,
    admitted,
    carried_out,
    duplicated,
    handoff_folder,
    id_of,
    quarantined,
    rejected,
)
from tests.signing import SIGNER

STATUS = NAME.decode() + ".status"


@pytest.fixture
def handoff(tmp_path: Path) -> Iterator[HandoffFolder]:
    with handoff_folder(tmp_path / "handoff") as made:
        yield made


def _apply(handoff: HandoffFolder, entries: list[Entry]) -> None:
    view = Verdicts(handoff.folders, handoff.catalog, ABOUT, SIGNER, NoticesInMemory(), NOT_AUDITED)
    assert list(carried_out(view.apply(entries))) == []


def _verdict(handoff: HandoffFolder, name: str = STATUS) -> dict[str, object]:
    document: dict[str, object] = json.loads((handoff.path / "status" / name).read_bytes())
    return document


def _owner(handoff: HandoffFolder, name: str = STATUS) -> object:
    return _verdict(handoff, name)["intent_id"]


def test_a_final_intent_gets_a_verdict_that_anybody_may_read(handoff: HandoffFolder) -> None:
    previous = os.umask(0o077)
    try:
        _apply(handoff, handoff.run(1, PUBLISHED))
    finally:
        os.umask(previous)
    path = handoff.path / "status" / STATUS
    assert _verdict(handoff)["message"] == "Processed by worker 0 in 2.5s"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert handoff.names("status") == {STATUS}


def test_an_unfinished_intent_has_no_verdict(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, HandedBack(1, "shutdown")))
    assert handoff.names("status") == set()


def test_the_verdict_tells_the_whole_history(handoff: HandoffFolder) -> None:
    second = msgspec.structs.replace(FAILED, run=msgspec.structs.replace(RUN, attempt=2))
    entries = handoff.run(1, HandedBack(1, "daemon_ended"), Started(2), second)
    _apply(handoff, entries[-1:])
    attempts = _verdict(handoff)["attempts"]
    assert isinstance(attempts, list)
    assert [a["outcome"] for a in attempts] == ["handed_back", "failed"]


@pytest.mark.parametrize("arrival", [admitted(), rejected(), quarantined()])
def test_yesterdays_verdict_is_gone_once_its_name_comes_again(
    handoff: HandoffFolder, arrival: Event
) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    entries = handoff.follow(id_of(2), arrival)
    _apply(handoff, entries)
    assert _owner(handoff, f"history/{id_of(1)}.status") == id_of(1)
    if entries[-1].event == admitted():
        assert handoff.names("status") == set()
    else:
        assert _owner(handoff) == id_of(2)


def test_a_duplicate_leaves_the_first_verdict_alone(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    before = handoff.tree()
    _apply(handoff, handoff.follow(id_of(2), duplicated(id_of(1))))
    assert handoff.tree() == before


def test_an_overtaken_verdict_goes_straight_to_the_history(handoff: HandoffFolder) -> None:
    older = handoff.run(1)
    newer = handoff.run(2, PUBLISHED)
    _apply(handoff, older + newer)
    _apply(handoff, handoff.follow(id_of(1), FAILED))
    assert _owner(handoff) == id_of(2)
    assert _owner(handoff, f"history/{id_of(1)}.status") == id_of(1)


def test_an_overtaken_verdict_never_shows_while_the_newer_intent_waits(
    handoff: HandoffFolder,
) -> None:
    entries = handoff.run(1) + handoff.run(2) + handoff.follow(id_of(1), PUBLISHED)
    _apply(handoff, entries)
    assert handoff.names("status") == set()
    assert handoff.names("status/history") == {f"{id_of(1)}.status"}


def test_each_of_many_verdicts_of_a_name_is_kept(handoff: HandoffFolder) -> None:
    entries = [e for n in range(1, 301) for e in handoff.run(n, PUBLISHED)]
    _apply(handoff, entries)
    assert _owner(handoff) == id_of(300)
    assert handoff.names("status/history") == {f"{id_of(n)}.status" for n in range(1, 300)}
    for n in (1, 150, 299):
        assert _owner(handoff, f"history/{id_of(n)}.status") == id_of(n)


def test_a_batch_that_comes_again_leaves_the_newest_in_place(handoff: HandoffFolder) -> None:
    entries = [e for n in (1, 2, 3) for e in handoff.run(n, PUBLISHED)]
    _apply(handoff, entries)
    tree = handoff.tree()
    _apply(handoff, entries)
    _apply(handoff, entries[: len(entries) // 2])
    assert handoff.tree() == tree


def test_a_forgotten_predecessor_does_not_come_back(handoff: HandoffFolder) -> None:
    """Applied again after retention: the newer verdict must not be taken for the old one."""
    entries = handoff.run(1, PUBLISHED) + handoff.run(2, PUBLISHED)
    _apply(handoff, entries)
    (handoff.path / "status" / "history" / f"{id_of(1)}.status").unlink()
    _apply(handoff, entries[3:])
    assert _owner(handoff) == id_of(2)
    assert handoff.names("status/history") == set()


def test_an_entry_that_was_set_aside_does_not_undo_a_newer_verdict(
    handoff: HandoffFolder,
) -> None:
    older, newer = handoff.run(1, FAILED), handoff.run(2, PUBLISHED)
    _apply(handoff, newer)
    for entry in older:
        _apply(handoff, [entry])
    assert _owner(handoff) == id_of(2)
    assert _owner(handoff, f"history/{id_of(1)}.status") == id_of(1)


def test_a_verdict_two_generations_old_moves_when_the_entry_between_was_set_aside(
    handoff: HandoffFolder,
) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    handoff.run(2)
    _apply(handoff, handoff.run(3))
    assert handoff.names("status") == set()
    assert handoff.names("status/history") == {f"{id_of(1)}.status"}


def test_the_verdict_before_is_kept_when_the_entry_that_moves_it_was_set_aside(
    handoff: HandoffFolder,
) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    arrived, *rest = handoff.run(2, FAILED)
    _apply(handoff, rest)
    assert _owner(handoff) == id_of(2)
    assert _owner(handoff, f"history/{id_of(1)}.status") == id_of(1)
    tree = handoff.tree()
    _apply(handoff, [arrived])
    assert handoff.tree() == tree


def test_a_retry_replaces_the_verdict_of_what_it_repeats(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, FAILED))
    retry = admitted(retry_of=id_of(1))
    _apply(handoff, handoff.follow(id_of(2), retry, Started(1), PUBLISHED))
    assert _verdict(handoff)["retry_of"] == id_of(1)
    assert _verdict(handoff, f"history/{id_of(1)}.status")["status"] == "failed"


# What others put in the way (research: abuse 10).


@pytest.mark.parametrize("when", ["before admission", "before the end"])
@pytest.mark.parametrize("kind", ["file", "link to a file", "dangling link", "fifo", "folder"])
def test_row_10_whatever_stands_at_a_verdicts_name_is_replaced_never_followed(
    handoff: HandoffFolder, tmp_path: Path, kind: str, when: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    if when == "before admission":
        _plant(handoff.path / "status" / STATUS, kind, secret)
    entries = handoff.run(1)
    _apply(handoff, entries)
    if when == "before the end":
        _plant(handoff.path / "status" / STATUS, kind, secret)
    _apply(handoff, handoff.follow(id_of(1), PUBLISHED))
    assert _owner(handoff) == id_of(1)
    assert stat.S_ISREG((handoff.path / "status" / STATUS).lstat().st_mode)
    assert secret.read_text() == "untouched"


def _plant(path: Path, kind: str, secret: Path) -> None:
    match kind:
        case "file":
            path.write_text('{"intent_file": "left by the original", "status": "success"}')
        case "link to a file":
            path.symlink_to(secret)
        case "dangling link":
            path.symlink_to("/nonexistent/target")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
            (path / "kept").write_text("kept")


def test_a_verdict_of_the_original_is_kept_out_of_the_way_and_told(
    handoff: HandoffFolder,
) -> None:
    _plant(handoff.path / "status" / STATUS, "file", handoff.path)
    notices = NoticesInMemory()
    carried_out(
        Verdicts(handoff.folders, handoff.catalog, ABOUT, SIGNER, notices, NOT_AUDITED).apply(
            handoff.run(1)
        )
    )
    assert handoff.names("status") == set()
    aside = handoff.path / "status" / "history" / f"{id_of(1)}.moved-aside"
    assert "left by the original" in aside.read_text()
    (notice,) = notices.told
    assert (notice.code, notice.subject) == ("foreign_verdict", f"status/{STATUS}")
    assert notice.details["moved_to"] == f"status/history/{id_of(1)}.moved-aside"


def test_row_10_folders_are_moved_aside_as_often_as_they_are_made(handoff: HandoffFolder) -> None:
    for _ in range(3):
        _plant(handoff.path / "status" / STATUS, "folder", handoff.path)
        _apply(handoff, handoff.run(1) if not handoff.catalog.entries else handoff.catalog.entries)
    _apply(handoff, handoff.follow(id_of(1), PUBLISHED))
    kept = sorted((handoff.path / "status" / "history").glob("*/kept"))
    assert [path.parent.name for path in kept] == [
        f"{id_of(1)}.1.moved-aside",
        f"{id_of(1)}.2.moved-aside",
        f"{id_of(1)}.moved-aside",
    ]
    assert _owner(handoff) == id_of(1)


def test_a_forged_verdict_is_overwritten_by_the_true_one(handoff: HandoffFolder) -> None:
    entries = handoff.run(1, FAILED)
    forged = {"intent_id": id_of(1), "status": "success"}
    (handoff.path / "status" / STATUS).write_text(json.dumps(forged))
    _apply(handoff, entries)
    assert _verdict(handoff)["status"] == "failed"


def test_a_forged_verdict_does_not_replace_another_names_history(handoff: HandoffFolder) -> None:
    other = b"intent-other.json"
    _apply(handoff, handoff.run(1, FAILED, name=other) + handoff.run(2, FAILED, name=other))
    forged = {"intent_id": id_of(1), "status": "success"}
    (handoff.path / "status" / STATUS).write_text(json.dumps(forged))
    _apply(handoff, handoff.run(3, PUBLISHED))
    assert _verdict(handoff, f"history/{id_of(1)}.status")["status"] == "failed"
    assert f"{id_of(3)}.moved-aside" in handoff.names("status/history")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b'{"intent_id": 5}',
        b'{"intent_id": "../../../etc/passwd"}',
        b'{"intent_id": "\xff"}',
        b'{"a": ' + b"[" * 100_000,
        b"\x00" * 100,
    ],
    ids=["empty", "array", "cut", "number", "path", "no UTF-8", "deep", "zeros"],
)
def test_a_file_that_is_no_verdict_belongs_to_nobody(handoff: HandoffFolder, text: bytes) -> None:
    (handoff.path / "status" / STATUS).write_bytes(text)
    assert verdict_owner(handoff.folders.status, STATUS.encode()) == ""


# What a crash can leave, by hand.


def test_a_half_written_verdict_is_written_anew(handoff: HandoffFolder) -> None:
    entries = handoff.run(1, PUBLISHED)
    (handoff.path / "status" / f".{id_of(1)}.status").write_bytes(b'{"intent_')
    _apply(handoff, entries)
    assert handoff.names("status") == {STATUS}
    assert _owner(handoff) == id_of(1)


@pytest.mark.parametrize("shown", ["none", "the first", "both"])
def test_a_batch_cut_short_between_two_renames_is_finished(
    handoff: HandoffFolder, shown: str
) -> None:
    entries = handoff.run(1, PUBLISHED) + handoff.run(2, PUBLISHED, name=b"intent-2.json")
    _apply(handoff, entries)
    tree = handoff.tree()
    status = handoff.path / "status"
    if shown != "both":
        (status / "intent-2.json.status").rename(status / f".{id_of(2)}.status")
    if shown == "none":
        (status / STATUS).rename(status / f".{id_of(1)}.status")
    _apply(handoff, entries)
    assert handoff.tree() == tree


def test_a_verdict_moved_to_the_history_but_not_noted_stays_there(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    again = handoff.run(2)
    _apply(handoff, again)
    tree = handoff.tree()
    _apply(handoff, again)
    assert handoff.tree() == tree


def test_a_reader_never_sees_half_a_verdict(handoff: HandoffFolder) -> None:
    entries = [e for n in range(1, 101) for e in handoff.run(n, FAILED)]
    path, seen, done = handoff.path / "status" / STATUS, set(), threading.Event()
    broken: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            try:
                seen.add(json.loads(data)["intent_id"])
            except ValueError:
                broken.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for entry in entries:
            _apply(handoff, [entry])
        _apply(handoff, entries)
    finally:
        done.set()
        reader.join()
    assert broken == []
    assert seen <= {id_of(n) for n in range(1, 101)}


@pytest.mark.parametrize(
    "name",
    [
        b"intent-\n.json",
        b"intent-\x1b[2J.json",
        b"intent-\xff.json",
        b"intent-" + b"z" * (LONGEST_NAME - 12) + b".json",
    ],
    ids=["newline", "escape", "no UTF-8", "long"],
)
def test_odd_names_have_a_verdict_like_any_other(handoff: HandoffFolder, name: bytes) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED, name=name))
    assert set(os.listdir(os.fsencode(handoff.path / "status"))) == {
        verdict_name(name),
        b"history",
    }


def test_long_names_that_differ_at_the_end_have_verdicts_of_their_own(
    handoff: HandoffFolder,
) -> None:
    stem = b"intent-" + b"z" * 240
    for number, end in enumerate((b"a", b"b"), 1):
        _apply(handoff, handoff.run(number, PUBLISHED, name=stem + end + b".json"))
    assert len(handoff.names("status")) == 2


def test_skipped_verdicts_say_why(handoff: HandoffFolder) -> None:
    superseded = Skipped(SkipReason.SUPERSEDED, superseded_by=id_of(9))
    _apply(handoff, handoff.run(1, superseded) + handoff.run(2, CANCELLED, name=b"intent-2.json"))
    assert _verdict(handoff)["superseded_by"] == id_of(9)
    assert _verdict(handoff, "intent-2.json.status")["cancelled_by"] == "alice"
