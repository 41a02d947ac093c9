"""Claims: the private folder, what is read from it, and what a dead daemon left in it."""

from __future__ import annotations

import logging
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.handoff.claims import Claims, _read_regular
from conductor_loop.adapters.handoff.layout import Layout, open_layout
from conductor_loop.core.arrival import Content, NotReadable, Special
from conductor_loop.spare_folders import SpareFolders
from tests.fakes import number_id

NOBODY = 65_534


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    with open_layout(tmp_path) as opened:
        yield opened


@pytest.fixture
def spares(layout: Layout) -> SpareFolders:
    return SpareFolders(layout.claimed)


@pytest.fixture
def claims(layout: Layout, spares: SpareFolders) -> Claims:
    return Claims(layout, SystemClock(), 1_000, spares)


@pytest.fixture
def claimed(tmp_path: Path) -> Path:
    return tmp_path / ".conductor/claimed"


def leave(claimed: Path, number: int, *names: str) -> str:
    """Leave a claim folder behind."""
    place = claimed / number_id(number)
    place.mkdir()
    for name in names:
        (place / name).write_bytes(name.encode())
    return place.name


def test_a_claim_stands_alone_in_a_folder_nobody_else_may_enter(
    tmp_path: Path, claims: Claims, claimed: Path
) -> None:
    (tmp_path / "intent-a.json").write_bytes(b"{}")
    claim = claims.claim(b"intent-a.json")
    assert claim is not None
    [place] = claimed.iterdir()
    assert place.name == claim.intent_id
    assert place.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in place.iterdir()] == ["intent-a.json"]
    claims.sync([claim])


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_any_number_of_claims_can_be_synced(tmp_path: Path, claims: Claims, count: int) -> None:
    done = []
    for number in range(count):
        (tmp_path / f"intent-{number}.json").write_bytes(b"{}")
        claim = claims.claim(b"intent-%d.json" % number)
        assert claim is not None
        done.append(claim)
    before = len(os.listdir("/proc/self/fd"))
    claims.sync(done)
    assert len(os.listdir("/proc/self/fd")) == before
    assert [c.intent_id for c in done] == sorted({c.intent_id for c in done})


def test_a_vanished_file_leaves_its_folder_to_the_next_claim(
    tmp_path: Path, claims: Claims, spares: SpareFolders, claimed: Path
) -> None:
    assert claims.claim(b"intent-gone.json") is None
    assert claims.claim(b"intent-gone-too.json") is None
    claims.tidy()
    (tmp_path / "intent-a.json").write_bytes(b"{}")
    claim = claims.claim(b"intent-a.json")
    assert claim is not None
    assert [path.name for path in claimed.iterdir()] == [claim.intent_id]
    assert claims.claim(b"intent-gone.json") is None
    claims.tidy()
    spares.remove_all()
    assert [path.name for path in claimed.iterdir()] == [claim.intent_id]


def test_a_folder_swapped_in_at_the_last_moment_is_set_aside(
    tmp_path: Path, claims: Claims
) -> None:
    (tmp_path / "intent-a.json").mkdir()
    claim = claims.claim(b"intent-a.json")
    assert claim is not None
    arrival = claims.read(claim)
    assert arrival is not None
    assert arrival.content == Special("folder")


def test_what_was_opened_is_looked_at_again_before_it_is_read(
    tmp_path: Path, claims: Claims
) -> None:
    (tmp_path / "intent-a.json").write_bytes(b"{}")
    claim = claims.claim(b"intent-a.json")
    assert claim is not None
    os.mkfifo(tmp_path / "fifo")
    handle = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        arrival = _read_regular(claim, handle, 1_000)
    finally:
        os.close(handle)
    assert arrival.content == Special("FIFO")


def test_a_claim_that_somebody_removed_is_no_arrival(
    tmp_path: Path, claims: Claims, claimed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "intent-a.json").write_bytes(b"{}")
    claim = claims.claim(b"intent-a.json")
    assert claim is not None
    shutil.rmtree(claimed / claim.intent_id)
    assert claims.read(claim) is None
    assert "intent-a.json was taken out" in caplog.text


def test_a_file_that_may_not_be_read_gets_a_verdict_all_the_same() -> None:
    place = Path(tempfile.mkdtemp())
    as_root = os.geteuid() == 0
    (place / "intent-a.json").write_bytes(b"{}")
    (place / "intent-a.json").chmod(0o000)
    if as_root:
        os.chown(place, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        with open_layout(place) as layout:
            claims = Claims(layout, SystemClock(), 1_000, SpareFolders(layout.claimed, most=0))
            claim = claims.claim(b"intent-a.json")
            assert claim is not None
            arrival = claims.read(claim)
    finally:
        if as_root:
            os.seteuid(0)
        shutil.rmtree(place)
    assert arrival is not None
    assert isinstance(arrival.content, NotReadable)
    assert arrival.receipt.name == b"intent-a.json"


def test_leftovers_keep_their_ids_and_come_in_order(claims: Claims, claimed: Path) -> None:
    ids = [leave(claimed, number, f"intent-{number}.json") for number in (2, 3, 1)]
    arrivals = claims.leftovers({ids[1]})
    assert [a.intent_id for a in arrivals] == [ids[2], ids[0]]
    assert [a.content for a in arrivals] == [Content(b"intent-1.json"), Content(b"intent-2.json")]
    assert arrivals[0].receipt.received_at <= datetime.now(UTC)
    assert len(list(claimed.iterdir())) == 3


def test_a_leftover_was_received_when_it_was_claimed(claims: Claims, claimed: Path) -> None:
    intent_id = leave(claimed, 1, "intent-a.json")
    os.utime(claimed / intent_id, (1_700_000_000, 1_700_000_000))
    [arrival] = claims.leftovers(())
    assert arrival.receipt.received_at == datetime.fromtimestamp(1_700_000_000, UTC)


def test_empty_claim_folders_are_removed_known_or_not(claims: Claims, claimed: Path) -> None:
    known, _ = leave(claimed, 1), leave(claimed, 2)
    assert claims.leftovers({known}) == []
    assert list(claimed.iterdir()) == []


def test_what_is_none_of_ours_is_left_and_logged(
    claims: Claims, claimed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (claimed / "junk\x1b").mkdir()
    (claimed / number_id(1)).write_bytes(b"a file")
    (claimed / number_id(2)).symlink_to("/")
    leave(claimed, 3, "intent-a.json", "intent-b.json")
    leave(claimed, 4, "foreign.txt")
    with caplog.at_level(logging.WARNING):
        assert claims.leftovers(()) == []
    assert len(list(claimed.iterdir())) == 5
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 5
    assert not re.search("\x1b", "".join(lines))


def test_a_leftover_that_is_no_file_is_not_opened(claims: Claims, claimed: Path) -> None:
    place = claimed / leave(claimed, 1)
    os.mkfifo(place / "intent-fifo.json")
    [arrival] = claims.leftovers(())
    assert arrival.content == Special("FIFO")


def test_claims_are_synced_even_without_descriptors(tmp_path: Path, claims: Claims) -> None:
    (tmp_path / "intent-a.json").write_bytes(b"{}")
    claim = claims.claim(b"intent-a.json")
    assert claim is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        claims.sync([claim])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
