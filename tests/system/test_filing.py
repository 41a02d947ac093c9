"""Files of final intents, on real file systems: one last place each, nothing overwritten."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.core.events import Event, Receipt, Rejected, Started
from conductor_loop.core.naming import LONGEST_NAME, collision_name, error_log_name
from conductor_loop.core.places import Place, filed_path
from conductor_loop.core.records import Entry
from conductor_loop.projections.filing import Filing
from tests.fakes_catalog import BEGINNING
from tests.handoff_folder import (
    BODY,
    CANCELLED,
    FAILED,
    FAULTS,
    NAME,
    PUBLISHED,
    TIMED_OUT,
    HandoffFolder,
    admitted,
    carried_out,
    duplicated,
    handoff_folder,
    id_of,
    quarantined,
    rejected,
)

LONG = b"intent-" + b"y" * (LONGEST_NAME - 12) + b".json"
"""Claimed in a folder of its own."""
OWN = f"intent-scale-up-001.{id_of(1)}.json"


@pytest.fixture
def handoff(tmp_path: Path) -> Iterator[HandoffFolder]:
    with handoff_folder(tmp_path / "handoff") as made:
        yield made


@pytest.fixture
def split_handoff(tmp_path: Path) -> Iterator[HandoffFolder]:
    """A handoff folder whose claims lie on another file system than processed/ and failed/."""
    if not _is_other_file_system(Path("/dev/shm"), tmp_path):
        pytest.skip("needs two file systems; /dev/shm is none of its own here")
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        with handoff_folder(tmp_path / "handoff", elsewhere / ".conductor") as made:
            yield made
    finally:
        shutil.rmtree(elsewhere)


def _is_other_file_system(one: Path, other: Path) -> bool:
    return one.is_dir() and os.access(one, os.W_OK) and one.stat().st_dev != other.stat().st_dev


def _apply(handoff: HandoffFolder, entries: list[Entry]) -> dict[str, str]:
    return dict(carried_out(Filing(handoff.folders).apply(entries)))


@pytest.mark.parametrize("ending", [PUBLISHED, CANCELLED])
def test_what_succeeded_or_was_skipped_ends_in_processed(
    handoff: HandoffFolder, ending: Event
) -> None:
    entries = handoff.run(1, ending)
    assert _apply(handoff, entries) == {id_of(1): Place.PROCESSED}
    assert handoff.names("processed") == {NAME.decode()}
    assert handoff.names("failed") == set()
    assert os.listdir(handoff.private / "claimed") == []


@pytest.mark.parametrize("ending", [FAILED, TIMED_OUT])
def test_what_failed_ends_in_failed_with_an_error_log(
    handoff: HandoffFolder, ending: Event
) -> None:
    entries = handoff.run(1, ending)
    assert _apply(handoff, entries) == {id_of(1): Place.FAILED}
    assert handoff.names("failed") == {NAME.decode(), NAME.decode() + ".error.log"}
    log = handoff.path / "failed" / (NAME.decode() + ".error.log")
    assert log.read_text().startswith(f"Intent {id_of(1)} ")
    assert stat.S_IMODE(log.stat().st_mode) == 0o644
    assert os.listdir(handoff.private / "claimed") == []


def test_a_rejected_file_ends_in_failed_with_every_fault(handoff: HandoffFolder) -> None:
    assert _apply(handoff, handoff.follow(handoff.claim(1), rejected())) == {id_of(1): Place.FAILED}
    log = (handoff.path / "failed" / (NAME.decode() + ".error.log")).read_text()
    assert "/replicas" in log
    assert "/colour" in log


def test_a_duplicate_is_kept_beside_the_first(handoff: HandoffFolder) -> None:
    entries = handoff.run(2, PUBLISHED) + handoff.follow(handoff.claim(1), duplicated(id_of(2)))
    assert _apply(handoff, entries) == {id_of(2): Place.PROCESSED, id_of(1): Place.PROCESSED_ID}
    assert handoff.names("processed") == {NAME.decode(), OWN}


def test_the_bytes_and_the_inode_stay_the_same(handoff: HandoffFolder) -> None:
    entries = handoff.run(1, PUBLISHED)
    before = handoff.claimed(1).stat()
    _apply(handoff, entries)
    after = (handoff.path / "processed" / NAME.decode()).stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
    )


def test_a_thousand_files_of_one_name_are_all_kept(handoff: HandoffFolder) -> None:
    entries = [e for n in range(1000) for e in handoff.run(n, PUBLISHED, body=b"%d" % n)]
    places = _apply(handoff, entries)
    for n in range(1000):
        path = filed_path(Place(places[id_of(n)]), NAME, id_of(n))
        assert path is not None
        assert (handoff.path / os.fsdecode(path)).read_bytes() == b"%d" % n


def test_a_name_that_leaves_no_room_is_filed_with_its_log(handoff: HandoffFolder) -> None:
    entries = [e for n in (1, 2) for e in handoff.run(n, FAILED, name=LONG)]
    assert _apply(handoff, entries) == {id_of(1): Place.FAILED, id_of(2): Place.FAILED_ID}
    names = (LONG, collision_name(LONG, id_of(2)))
    expected = {os.fsdecode(n) for plain in names for n in (plain, error_log_name(plain))}
    assert handoff.names("failed") == expected
    assert os.listdir(handoff.private / "claimed") == []


@pytest.mark.parametrize("length", [228, 229, 255])
@pytest.mark.parametrize("ending", [PUBLISHED, FAILED], ids=["processed", "failed"])
def test_a_name_of_any_length_is_filed_and_leaves_no_claim(
    handoff: HandoffFolder, length: int, ending: Event
) -> None:
    name = b"intent-" + b"y" * (length - 12) + b".json"
    entries = handoff.run(1, ending, name=name)
    assert handoff.claimed(1, name).exists()
    [place] = _apply(handoff, entries).values()
    filed = filed_path(Place(place), name, id_of(1))
    assert filed is not None
    assert (handoff.path / os.fsdecode(filed)).read_bytes() == BODY
    assert os.listdir(handoff.private / "claimed") == []


def test_what_somebody_put_beside_a_long_claim_is_left_alone(handoff: HandoffFolder) -> None:
    entries = handoff.run(1, PUBLISHED, name=LONG)
    beside = handoff.claimed(1, LONG).with_name("notes")
    beside.write_text("somebody's own")
    assert _apply(handoff, entries) == {id_of(1): Place.PROCESSED}
    assert beside.read_text() == "somebody's own"


@pytest.mark.parametrize(
    "name",
    [b"intent-\n.json", b"intent-\x1b[2J.json", b"intent-\xff.json", "intent-\u202e.json".encode()],
)
def test_hostile_names_are_filed_under_exactly_their_bytes(
    handoff: HandoffFolder, name: bytes
) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED, name=name))
    assert os.listdir(os.fsencode(handoff.path / "processed")) == [name]


def test_a_foreign_file_of_the_name_is_not_overwritten(handoff: HandoffFolder) -> None:
    foreign = handoff.path / "processed" / NAME.decode()
    foreign.write_text("somebody's own")
    assert _apply(handoff, handoff.run(1, PUBLISHED)) == {id_of(1): Place.PROCESSED_ID}
    assert foreign.read_text() == "somebody's own"
    assert (handoff.path / "processed" / OWN).read_bytes() == BODY


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_a_foreign_error_log_is_not_overwritten(handoff: HandoffFolder, kind: str) -> None:
    log = handoff.path / "failed" / (NAME.decode() + ".error.log")
    _plant(log, kind)
    before = handoff.tree()[f"handoff/failed/{log.name}"]
    assert _apply(handoff, handoff.run(1, FAILED)) == {id_of(1): Place.FAILED_ID}
    assert handoff.tree()[f"handoff/failed/{log.name}"] == before
    assert handoff.names("failed") - {log.name} == {OWN, OWN + ".error.log"}


def test_a_taken_name_takes_its_log_along(handoff: HandoffFolder) -> None:
    (handoff.path / "failed" / NAME.decode()).write_text("somebody's own")
    assert _apply(handoff, handoff.run(1, FAILED)) == {id_of(1): Place.FAILED_ID}
    assert handoff.names("failed") == {NAME.decode(), OWN, OWN + ".error.log"}


def _plant(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_text("Intent of somebody else\n")
        case "folder":
            path.mkdir()
        case "dangling link":
            path.symlink_to("/nonexistent/target")
        case "fifo":
            os.mkfifo(path)


@pytest.mark.parametrize("name", [NAME, LONG], ids=["short", "long"])
@pytest.mark.parametrize("kind", ["dangling link", "fifo", "folder"])
def test_what_is_no_regular_file_is_set_aside_untouched(
    handoff: HandoffFolder, kind: str, name: bytes
) -> None:
    place = handoff.claimed(1, name)
    place.parent.mkdir(exist_ok=True)
    _plant(place, kind)
    before = place.lstat()
    entries = handoff.follow(id_of(1), quarantined(name))
    for _ in range(2):
        assert _apply(handoff, entries) == {id_of(1): Place.QUARANTINE}
        assert _aside(handoff, name).lstat().st_ino == before.st_ino
        assert _aside(handoff, name).lstat().st_mode == before.st_mode
        assert stat.S_IMODE(_aside(handoff, name).parent.stat().st_mode) == 0o700
        assert os.listdir(handoff.private / "claimed") == []


def test_setting_aside_that_was_cut_short_is_finished(handoff: HandoffFolder) -> None:
    handoff.claimed(1).symlink_to("/nonexistent/target")
    (handoff.private / "quarantine" / id_of(1)).mkdir(mode=0o700)
    assert _apply(handoff, handoff.follow(id_of(1), quarantined())) == {id_of(1): Place.QUARANTINE}
    assert os.readlink(_aside(handoff, NAME)) == "/nonexistent/target"
    assert os.listdir(handoff.private / "claimed") == []


def test_setting_aside_replaces_nothing(handoff: HandoffFolder) -> None:
    handoff.claimed(1).symlink_to("/nonexistent/target")
    _aside(handoff, NAME).parent.mkdir(mode=0o700)
    _aside(handoff, NAME).write_text("somebody's own")
    entries = handoff.follow(id_of(1), quarantined())
    with pytest.raises(FileExistsError):
        _apply(handoff, entries)
    assert _aside(handoff, NAME).read_text() == "somebody's own"
    assert handoff.claimed(1).is_symlink()


def test_what_was_to_be_set_aside_and_is_gone_is_told_once(
    handoff: HandoffFolder, caplog: pytest.LogCaptureFixture
) -> None:
    entries = handoff.follow(id_of(1), quarantined())
    filing = Filing(handoff.folders)
    for _ in range(2):
        assert dict(carried_out(filing.apply(entries))) == {id_of(1): Place.NOWHERE}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert os.listdir(handoff.private / "quarantine") == []


def _aside(handoff: HandoffFolder, name: bytes) -> Path:
    path = filed_path(Place.QUARANTINE, name, id_of(1))
    assert path is not None
    return handoff.path / os.fsdecode(path)


def test_a_hard_linked_file_is_filed_and_its_other_name_stays(handoff: HandoffFolder) -> None:
    other = handoff.path / "other-name"
    other.write_bytes(b"theirs")
    os.link(other, handoff.claimed(1))
    refusal = Rejected(Receipt(NAME, BEGINNING, 6), FAULTS)
    assert _apply(handoff, handoff.follow(id_of(1), refusal)) == {id_of(1): Place.FAILED}
    assert other.read_bytes() == b"theirs"


@pytest.mark.parametrize("ending", [PUBLISHED, FAILED])
def test_a_retry_moves_nothing(handoff: HandoffFolder, ending: Event) -> None:
    entries = handoff.run(1, FAILED)
    _apply(handoff, entries)
    before = handoff.tree()
    retry = handoff.follow(id_of(2), admitted(retry_of=id_of(1)), Started(1), ending)
    assert _apply(handoff, retry) == {id_of(2): Place.NOWHERE}
    assert handoff.tree() == before


@pytest.mark.parametrize("ending", [PUBLISHED, FAILED])
def test_a_claim_that_somebody_removed_is_told_once(
    handoff: HandoffFolder, caplog: pytest.LogCaptureFixture, ending: Event
) -> None:
    entries = handoff.run(1, ending)
    handoff.claimed(1).unlink()
    filing = Filing(handoff.folders)
    assert dict(carried_out(filing.apply(entries))) == {id_of(1): Place.NOWHERE}
    assert dict(carried_out(filing.apply(entries))) == {id_of(1): Place.NOWHERE}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert handoff.names("processed") == handoff.names("failed") == set()


def test_a_removed_claim_is_not_mistaken_for_another_file_of_its_name(
    handoff: HandoffFolder,
) -> None:
    for folder in ("processed", "failed"):
        (handoff.path / folder / NAME.decode()).write_text("somebody else's")
    entries = handoff.run(1, PUBLISHED) + handoff.run(2, FAILED)
    for number in (1, 2):
        handoff.claimed(number).unlink()
    assert set(_apply(handoff, entries).values()) == {Place.NOWHERE}
    assert handoff.names("failed") == {NAME.decode()}


# What a crash can leave, by hand: then everything comes again from the last durable position.


@pytest.mark.parametrize("taken", [False, True], ids=["free name", "taken name"])
@pytest.mark.parametrize("ending", [PUBLISHED, FAILED], ids=["processed", "failed"])
@pytest.mark.parametrize("leftover", ["nothing", "empty claim folder"])
def test_moved_but_not_noted_is_found_in_its_place(
    handoff: HandoffFolder,
    caplog: pytest.LogCaptureFixture,
    *,
    taken: bool,
    ending: Event,
    leftover: str,
) -> None:
    name = NAME if leftover == "nothing" else LONG
    if taken:
        for folder in ("processed", "failed"):
            (handoff.path / folder / name.decode()).write_text("somebody else's")
    entries = handoff.run(1, ending, name=name)
    places = _apply(handoff, entries)
    tree = handoff.tree()
    if leftover != "nothing":
        (handoff.private / "claimed" / id_of(1)).mkdir()
    assert _apply(handoff, entries) == places
    assert handoff.tree() == tree
    assert not caplog.records


@pytest.mark.parametrize("text", [b"", b"Intent half of"])
def test_a_half_written_error_log_is_written_anew(handoff: HandoffFolder, text: bytes) -> None:
    entries = handoff.run(1, FAILED)
    (handoff.path / "failed" / f".{id_of(1)}.error").write_bytes(text)
    _apply(handoff, entries)
    assert handoff.names("failed") == {NAME.decode(), NAME.decode() + ".error.log"}
    log = (handoff.path / "failed" / (NAME.decode() + ".error.log")).read_text()
    assert "no such target" in log


@pytest.mark.parametrize("named", [NAME.decode(), OWN])
def test_a_log_that_was_shown_before_its_file_moved_is_found(
    handoff: HandoffFolder, named: str
) -> None:
    entries = handoff.run(1, FAILED)
    (handoff.path / "failed" / (named + ".error.log")).write_text(f"Intent {id_of(1)} failed.\n")
    if named == OWN:
        (handoff.path / "failed" / NAME.decode()).write_text("somebody else's")
    _apply(handoff, entries)
    others = {NAME.decode()} if named == OWN else set()
    assert handoff.names("failed") - others == {named, named + ".error.log"}


def test_a_link_that_was_not_yet_unlinked_is_one_file(handoff: HandoffFolder) -> None:
    """Where renaming without replacing is unknown, a crash can leave both names."""
    entries = handoff.run(1, PUBLISHED)
    claim = handoff.claimed(1)
    os.link(claim, handoff.path / "processed" / NAME.decode())
    assert _apply(handoff, entries) == {id_of(1): Place.PROCESSED}
    assert handoff.names("processed") == {NAME.decode()}
    assert os.listdir(handoff.private / "claimed") == []


# Another file system.


@pytest.mark.parametrize("name", [NAME, LONG], ids=["short", "long"])
@pytest.mark.parametrize("ending", [PUBLISHED, FAILED], ids=["processed", "failed"])
def test_a_file_crosses_to_another_file_system(
    split_handoff: HandoffFolder, ending: Event, name: bytes
) -> None:
    handoff = split_handoff
    entries = handoff.run(1, ending, name=name)
    claim = handoff.claimed(1, name)
    claim.chmod(0o640)
    os.utime(claim, ns=(1_700_000_000_000_000_000, 1_700_000_001_000_000_001))
    places = _apply(handoff, entries)
    path = filed_path(Place(places[id_of(1)]), name, id_of(1))
    assert path is not None
    filed = handoff.path / os.fsdecode(path)
    assert filed.read_bytes() == BODY
    assert stat.S_IMODE(filed.stat().st_mode) == 0o640
    assert filed.stat().st_mtime_ns == 1_700_000_001_000_000_001
    assert os.listdir(handoff.private / "claimed") == []
    assert not [name for name in handoff.names(filed.parent.name) if name.startswith(".")]


def test_a_crossing_file_overwrites_nothing(split_handoff: HandoffFolder) -> None:
    handoff = split_handoff
    entries = [e for n in (2, 1) for e in handoff.run(n, PUBLISHED)]
    assert _apply(handoff, entries) == {id_of(2): Place.PROCESSED, id_of(1): Place.PROCESSED_ID}
    assert handoff.names("processed") == {NAME.decode(), OWN}


def test_a_sparse_file_stays_sparse_when_it_crosses(split_handoff: HandoffFolder) -> None:
    handoff = split_handoff
    size = 1 << 36
    intent_id = handoff.claim(1)
    with handoff.claimed(1).open("r+b") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"middle")
    refusal = Rejected(Receipt(NAME, BEGINNING, size), FAULTS)
    _apply(handoff, handoff.follow(intent_id, refusal))
    filed = handoff.path / "failed" / NAME.decode()
    with filed.open("rb") as file:
        assert file.read(len(BODY)) == BODY
        file.seek(size // 2)
        assert file.read(7) == b"middle\0"
    assert filed.stat().st_size == size
    assert filed.stat().st_blocks * 512 < 1 << 20


def test_a_large_file_crosses_whole(split_handoff: HandoffFolder) -> None:
    handoff = split_handoff
    body = os.urandom(3_000_001)
    _apply(handoff, handoff.run(1, PUBLISHED, body=body))
    filed = (handoff.path / "processed" / NAME.decode()).read_bytes()
    assert hashlib.sha256(filed).digest() == hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    "stage",
    [
        "part of a copy",
        "a whole copy",
        "a whole copy, file gone",
        "a whole copy, file gone, folder left",
    ],
)
def test_a_crossing_that_was_cut_short_is_finished(
    split_handoff: HandoffFolder, stage: str
) -> None:
    handoff = split_handoff
    name = LONG if stage.endswith("folder left") else NAME
    entries = handoff.run(1, PUBLISHED, name=name)
    hidden = handoff.path / "processed" / f".{id_of(1)}.copied"
    if stage == "part of a copy":
        hidden.with_name(hidden.name + ".part").write_bytes(BODY[:5])
    else:
        hidden.write_bytes(BODY)
    if "file gone" in stage:
        handoff.claimed(1, name).unlink()
    for _ in range(2):
        assert _apply(handoff, entries) == {id_of(1): Place.PROCESSED}
        assert handoff.names("processed") == {name.decode()}
        assert (handoff.path / "processed" / name.decode()).read_bytes() == BODY
        assert os.listdir(handoff.private / "claimed") == []
