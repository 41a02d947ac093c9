"""Retention in a real handoff folder: what is due goes, and only that."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from conductor_loop.core.events import Event, Quarantined, Receipt, Rejected, Started
from conductor_loop.core.records import Entry
from conductor_loop.core.states import FINAL, State
from conductor_loop.projections.filing import Filing
from conductor_loop.projections.tidying import Tidying
from conductor_loop.projections.verdicts import Verdicts
from tests.fakes_catalog import BEGINNING
from tests.fakes_notices import NoticesInMemory
from tests.handoff_folder import (
    ABOUT,
    BODY,
    CANCELLED,
    FAILED,
    FAULTS,
    NAME,
    NOT_AUDITED,
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
from tests.signing import SIGNER

STATUS = NAME.decode() + ".status"
FOLDERS = ("processed", "failed", "status", "status/history")
EMPTY: dict[str, set[str]] = {folder: set() for folder in FOLDERS}


@pytest.fixture
def handoff(tmp_path: Path) -> Iterator[HandoffFolder]:
    with handoff_folder(tmp_path / "handoff") as made:
        yield made


def _apply(handoff: HandoffFolder, entries: Sequence[Entry]) -> None:
    handoff.catalog.note_filed(carried_out(Filing(handoff.folders).apply(entries)))
    carried_out(
        Verdicts(
            handoff.folders, handoff.catalog, ABOUT, SIGNER, NoticesInMemory(), NOT_AUDITED
        ).apply(entries)
    )


def _remove(handoff: HandoffFolder, *numbers: int) -> list[str]:
    return Tidying(handoff.folders).remove([handoff.catalog.summary(id_of(n)) for n in numbers])


def _contents(handoff: HandoffFolder) -> dict[str, set[str]]:
    return {folder: handoff.names(folder) for folder in FOLDERS}


@pytest.mark.parametrize("ending", [PUBLISHED, FAILED, TIMED_OUT, CANCELLED])
def test_everything_of_an_old_intent_goes(handoff: HandoffFolder, ending: Event) -> None:
    _apply(handoff, handoff.run(1, ending))
    assert _remove(handoff, 1) == [id_of(1)]
    assert _contents(handoff) == EMPTY


@pytest.mark.parametrize("arrival", [rejected(), quarantined()])
def test_everything_of_an_old_refusal_goes(handoff: HandoffFolder, arrival: Event) -> None:
    intent_id = handoff.claim(1)
    if isinstance(arrival, Quarantined):
        file = handoff.claimed(1)
        file.unlink()
        file.symlink_to("/etc/hostname")
    _apply(handoff, handoff.follow(intent_id, arrival))
    assert _remove(handoff, 1) == [id_of(1)]
    assert _contents(handoff) == EMPTY
    assert os.listdir(handoff.private / "quarantine") == []
    assert Path("/etc/hostname").exists()


def test_removing_again_is_the_same_as_once(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, FAILED))
    _apply(handoff, handoff.run(2, FAILED))
    assert _remove(handoff, 1) == [id_of(1)]
    tree = handoff.tree()
    assert _remove(handoff, 1) == [id_of(1)]
    assert handoff.tree() == tree


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_others_of_the_name_stay(handoff: HandoffFolder, kept: int) -> None:
    """Same name, different bytes, succeeded and failed: each is removed on its own."""
    endings: tuple[Event, ...] = (PUBLISHED, FAILED, FAILED)
    for number, ending in enumerate(endings, 1):
        _apply(handoff, handoff.run(number, ending, body=b"%d" % number))
    others = [n for n in (1, 2, 3) if n != kept]
    assert _remove(handoff, *others) == [id_of(n) for n in others]
    left = _contents(handoff)
    bodies = [
        (handoff.path / folder / name).read_bytes()
        for folder in ("processed", "failed")
        for name in left[folder]
        if not name.endswith(".error.log")
    ]
    assert bodies == [b"%d" % kept]
    logs = [name for name in left["failed"] if name.endswith(".error.log")]
    assert len(logs) == (kept != 1)
    shown = {STATUS} if kept == 3 else set()
    assert left["status"] == shown
    assert left["status/history"] == ({f"{id_of(kept)}.status"} if kept != 3 else set())


def test_a_duplicate_goes_without_the_verdict_of_the_first(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    _apply(handoff, handoff.follow(handoff.claim(2), duplicated(id_of(1))))
    assert _remove(handoff, 2) == [id_of(2)]
    assert _contents(handoff) == {**EMPTY, "processed": {NAME.decode()}, "status": {STATUS}}


def test_a_retry_goes_without_the_file_of_what_it_repeats(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, FAILED))
    retry = admitted(retry_of=id_of(1))
    _apply(handoff, handoff.follow(id_of(2), retry, Started(1), PUBLISHED))
    assert _remove(handoff, 2) == [id_of(2)]
    left = _contents(handoff)
    assert left["failed"] == {NAME.decode(), NAME.decode() + ".error.log"}
    assert left["status/history"] == {f"{id_of(1)}.status"}
    assert left["status"] == set()


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_what_is_not_final_is_never_touched(handoff: HandoffFolder, state: State) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    row = replace(handoff.catalog.summary(id_of(1)), state=state)
    tree = handoff.tree()
    assert Tidying(handoff.folders).remove([row]) == []
    assert handoff.tree() == tree


def test_what_is_not_filed_yet_has_to_wait(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    row = replace(handoff.catalog.summary(id_of(1)), filed=None)
    tree = handoff.tree()
    assert Tidying(handoff.folders).remove([row]) == []
    assert handoff.tree() == tree


@pytest.mark.parametrize("ending", [PUBLISHED, FAILED])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_somebody_put_in_the_old_files_place_stays(
    handoff: HandoffFolder, tmp_path: Path, ending: Event, kind: str
) -> None:
    _apply(handoff, handoff.run(1, ending))
    folder = handoff.path / ("processed" if ending is PUBLISHED else "failed")
    for name in os.listdir(folder):
        (folder / name).unlink()
    foreign = folder / NAME.decode()
    if kind == "file":
        foreign.write_bytes(b"somebody else's")
    else:
        (tmp_path / "same bytes").write_bytes(BODY)
        foreign.symlink_to(tmp_path / "same bytes")
    assert _remove(handoff, 1) == [id_of(1)]
    assert foreign.is_symlink() == (kind == "link")
    assert foreign.exists()


@pytest.mark.parametrize("number", [1, 2], ids=["under its name", "under its id"])
@pytest.mark.parametrize("ending", [PUBLISHED, FAILED, TIMED_OUT])
def test_a_file_that_was_changed_where_it_lies_stays(
    handoff: HandoffFolder, ending: Event, number: int
) -> None:
    """An operator corrects it in place, to hand it over again."""
    folder = handoff.path / ("processed" if ending is PUBLISHED else "failed")
    _apply(handoff, [entry for n in (1, 2) for entry in handoff.run(n, ending)])
    name = NAME.decode() if number == 1 else f"{NAME.decode()[:-5]}.{id_of(2)}.json"
    (folder / name).write_bytes(BODY.replace(b"scaling", b"SCALING"))
    assert _remove(handoff, 1, 2) == [id_of(1), id_of(2)]
    assert _contents(handoff) == {**EMPTY, folder.name: {name}}


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_file_that_was_never_read_goes_unless_its_size_changed(
    handoff: HandoffFolder, is_changed: bool
) -> None:
    unread = Receipt(NAME, BEGINNING, len(BODY))
    _apply(handoff, handoff.follow(handoff.claim(1), Rejected(unread, FAULTS)))
    if is_changed:
        (handoff.path / "failed" / NAME.decode()).write_bytes(BODY + b" ")
    assert _remove(handoff, 1) == [id_of(1)]
    assert handoff.names("failed") == ({NAME.decode()} if is_changed else set())


def test_a_later_file_in_the_place_of_a_removed_one_stays(handoff: HandoffFolder) -> None:
    """An operator empties processed/; the next file of that name gets the plain name too."""
    _apply(handoff, handoff.run(1, PUBLISHED, body=b"one"))
    (handoff.path / "processed" / NAME.decode()).unlink()
    _apply(handoff, handoff.run(2, PUBLISHED, body=b"two"))
    assert _remove(handoff, 1) == [id_of(1)]
    assert (handoff.path / "processed" / NAME.decode()).read_bytes() == b"two"
    assert _remove(handoff, 2) == [id_of(2)]
    assert _contents(handoff) == EMPTY


def test_a_failed_file_whose_log_was_deleted_still_goes(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, FAILED))
    (handoff.path / "failed" / (NAME.decode() + ".error.log")).unlink()
    assert _remove(handoff, 1) == [id_of(1)]
    assert _contents(handoff) == EMPTY


def test_a_foreign_verdict_of_the_name_stays(handoff: HandoffFolder) -> None:
    _apply(handoff, handoff.run(1, PUBLISHED))
    (handoff.path / "status" / STATUS).write_text("left by the original")
    assert _remove(handoff, 1) == [id_of(1)]
    assert handoff.names("status") == {STATUS}


def test_one_that_cannot_be_removed_does_not_stop_the_others(
    handoff: HandoffFolder, caplog: pytest.LogCaptureFixture
) -> None:
    _apply(handoff, [e for n in (1, 2, 3) for e in handoff.run(n, PUBLISHED)])
    obstacle = handoff.path / "status" / "history" / f"{id_of(2)}.status"
    obstacle.unlink()
    obstacle.mkdir()
    assert _remove(handoff, 1, 2, 3) == [id_of(1), id_of(3)]
    assert [record.message for record in caplog.records] == [
        "an old intent could not be removed: Is a directory"
    ]


def test_long_names_are_removed_too(handoff: HandoffFolder) -> None:
    name = b"intent-" + b"w" * 243 + b".json"
    _apply(handoff, [e for n in (1, 2) for e in handoff.run(n, FAILED, name=name)])
    assert _remove(handoff, 1, 2) == [id_of(1), id_of(2)]
    assert _contents(handoff) == EMPTY
