"""The contract of `ports.Projection`, for every view on disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from conductor_loop.core.events import (
    BreakerClosed,
    HandedBack,
    Paused,
    Resumed,
    Skipped,
    SkipReason,
    Started,
)
from conductor_loop.core.places import Place
from conductor_loop.core.records import Entry
from conductor_loop.disk import PASSING_ERRORS
from conductor_loop.ports import Projection
from conductor_loop.projections.filing import Filing
from conductor_loop.projections.verdicts import Verdicts
from tests.fakes_notices import NoticesInMemory
from tests.handoff_folder import (
    ABOUT,
    CANCELLED,
    FAILED,
    NAME,
    NOT_AUDITED,
    PUBLISHED,
    RUN,
    TIMED_OUT,
    TO_BE_RETRIED,
    HandoffFolder,
    admitted,
    as_ordinary_user,
    carried_out,
    duplicated,
    handoff_folder,
    id_of,
    quarantined,
    rejected,
)
from tests.signing import SIGNER

Makes = Callable[[HandoffFolder], Projection]


def _filing(handoff: HandoffFolder) -> Projection:
    return Filing(handoff.folders)


def _verdicts(handoff: HandoffFolder) -> Projection:
    return Verdicts(handoff.folders, handoff.catalog, ABOUT, SIGNER, NoticesInMemory(), NOT_AUDITED)


@pytest.fixture
def handoff(tmp_path: Path) -> Iterator[HandoffFolder]:
    with handoff_folder(tmp_path / "handoff") as made:
        yield made


@pytest.fixture(params=[_filing, _verdicts], ids=["filing", "verdicts"])
def view(request: pytest.FixtureRequest, handoff: HandoffFolder) -> Projection:
    make: Makes = request.param
    return make(handoff)


def _everything(handoff: HandoffFolder) -> list[Entry]:
    """Entries of intents that end in every way, names that come again among them."""
    run, follow = handoff.run, handoff.follow
    entries = run(1, PUBLISHED)
    entries += run(2, FAILED)
    entries += run(3, TO_BE_RETRIED, Started(2), TIMED_OUT)
    entries += run(4, CANCELLED, name=b"intent-\xff\n.json")
    entries += run(5, HandedBack(1, "shutdown"), name=b"intent-waiting.json")
    entries += follow(handoff.claim(6), rejected())
    entries += follow(handoff.claim(7, b"intent-link.json"), quarantined(b"intent-link.json"))
    entries += follow(handoff.claim(8, b"intent-link.json"), rejected(b"intent-link.json"))
    entries += follow(handoff.claim(9), duplicated(id_of(1)))
    entries += follow(id_of(10), admitted(retry_of=id_of(2)), Started(1), PUBLISHED)
    entries += run(11, FAILED, name=b"intent-" + b"x" * 243 + b".json")
    return entries


def test_applying_twice_is_the_same_as_once(handoff: HandoffFolder, view: Projection) -> None:
    entries = _everything(handoff)
    places = carried_out(view.apply(entries))
    tree = handoff.tree()
    assert carried_out(view.apply(entries)) == places
    assert handoff.tree() == tree


def test_one_by_one_is_the_same_as_all_at_once(tmp_path: Path) -> None:
    for make in (_filing, _verdicts):
        trees, places = [], []
        for step in (1, 3, 1000):
            with handoff_folder(tmp_path / f"{make.__name__}{step}" / "handoff") as handoff:
                places.append(_apply_in_steps(make(handoff), _everything(handoff), step))
                trees.append(handoff.tree())
        assert trees[0] == trees[1] == trees[2]
        assert places[0] == places[1] == places[2]


def test_any_stretch_may_come_again(handoff: HandoffFolder, view: Projection) -> None:
    """A crash repeats everything since the last durable position, wherever that was."""
    entries = _everything(handoff)
    carried_out(view.apply(entries))
    tree = handoff.tree()
    for start in range(len(entries)):
        carried_out(view.apply(entries[start : start + 7]))
        assert handoff.tree() == tree, f"changed by entries {start} to {start + 7} again"


def test_what_is_not_final_changes_nothing(handoff: HandoffFolder, view: Projection) -> None:
    entries = handoff.run(1, TO_BE_RETRIED, Started(2), HandedBack(2, "shutdown"))
    for event in (Paused("alice"), Resumed("alice"), BreakerClosed(RUN.duration)):
        entries.append(handoff.catalog.record(None, event))
    before = handoff.tree()
    assert list(carried_out(view.apply(entries))) == []
    assert handoff.tree() == before


def test_nothing_to_apply_is_fine(view: Projection) -> None:
    assert list(carried_out(view.apply([]))) == []


def test_no_descriptor_is_left_open(handoff: HandoffFolder, view: Projection) -> None:
    carried_out(view.apply(_everything(handoff)))
    before = len(os.listdir("/dev/fd"))
    carried_out(view.apply(_everything_else(handoff)))
    assert len(os.listdir("/dev/fd")) == before


def test_a_folder_deleted_under_it_is_an_error_that_may_pass(
    handoff: HandoffFolder, view: Projection
) -> None:
    entries = handoff.run(1, FAILED)
    for folder in ("failed", "status/history", "status"):
        (handoff.path / folder).rmdir()
    with pytest.raises(OSError, match="deleted under") as raised:
        carried_out(view.apply(entries))
    assert raised.value.errno == errno.ESTALE
    assert raised.value.errno in PASSING_ERRORS


@pytest.mark.parametrize("closed", ["claimed", "failed", "status", "history"])
def test_a_folder_closed_to_it_is_an_error_that_may_pass(
    handoff: HandoffFolder, closed: str
) -> None:
    carried_out(_verdicts(handoff).apply(handoff.run(1, PUBLISHED)))
    entries = handoff.run(2, FAILED)
    for folder in ("failed", "status", "history", "claimed"):
        os.fchmod(getattr(handoff.folders, folder), 0o555 if folder == closed else 0o777)
    view = (_filing if closed in ("claimed", "failed") else _verdicts)(handoff)
    with as_ordinary_user(), pytest.raises(OSError, match="closed") as raised:
        carried_out(view.apply(entries))
    assert raised.value.errno in PASSING_ERRORS

    os.fchmod(getattr(handoff.folders, closed), 0o777)
    with as_ordinary_user():
        carried_out(view.apply(entries))


def test_filing_tells_the_place_of_every_final_intent(handoff: HandoffFolder) -> None:
    places = dict(carried_out(_filing(handoff).apply(_everything(handoff))))
    assert places == {
        id_of(1): Place.PROCESSED,
        id_of(2): Place.FAILED,
        id_of(3): Place.FAILED_ID,
        id_of(4): Place.PROCESSED,
        id_of(6): Place.FAILED_ID,
        id_of(7): Place.QUARANTINE,
        id_of(8): Place.FAILED,
        id_of(9): Place.PROCESSED_ID,
        id_of(10): Place.NOWHERE,
        id_of(11): Place.FAILED,
    }


def _everything_else(handoff: HandoffFolder) -> Sequence[Entry]:
    skipped = Skipped(SkipReason.SUPERSEDED, superseded_by=id_of(99))
    return [
        *handoff.run(21, PUBLISHED, name=NAME),
        *handoff.run(22, FAILED, name=NAME),
        *handoff.run(23, skipped, name=NAME),
    ]


def _apply_in_steps(view: Projection, entries: list[Entry], step: int) -> list[tuple[str, str]]:
    places: list[tuple[str, str]] = []
    for start in range(0, len(entries), step):
        places += carried_out(view.apply(entries[start : start + step]))
    return places
