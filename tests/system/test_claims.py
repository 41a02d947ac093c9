"""Claims: the private folder, what is read from it, and what a dead daemon left in it."""

from __future__ import annotations

import errno
import logging
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.handoff.claims import Claims, _read_regular
from conductor_loop.adapters.handoff.layout import Layout, open_layout
from conductor_loop.adapters.handoff.older_claims import renew_claims
from conductor_loop.adapters.handoff.ordinals import unfinished_in
from conductor_loop.core.arrival import Content, NotReadable, Special
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.places import claimed_path
from tests.fakes import number_id
from tests.fakes_source import TurnedClock

NOBODY = 65_534


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    with open_layout(tmp_path) as opened:
        yield opened


@pytest.fixture
def claims(layout: Layout) -> Claims:
    return Claims(layout, SystemClock(), 1_000)


@pytest.fixture
def claimed(tmp_path: Path) -> Path:
    return tmp_path / ".conductor/claimed"


def leave(claimed: Path, number: int, name: str) -> str:
    """Leave a claim behind."""
    place = claimed / os.fsdecode(claimed_path(number_id(number), os.fsencode(name)))
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(name.encode())
    return number_id(number)


def leave_folder(claimed: Path, number: int, *names: str) -> str:
    """Leave a folder of one id behind, as an older daemon did for every claim."""
    place = claimed / number_id(number)
    place.mkdir()
    for name in names:
        (place / name).write_bytes(name.encode())
    return place.name


def long_name(length: int) -> bytes:
    """A name of so many bytes."""
    return b"intent-" + b"x" * (length - 12) + b".json"


def paths_in(claimed: Path) -> list[bytes]:
    """All that is in there, relative to it."""
    top = os.fsencode(claimed)
    return sorted(os.path.relpath(os.fsencode(path), top) for path in claimed.rglob("*"))


def test_a_claim_stands_under_its_id_and_name_where_nobody_else_may_enter(
    tmp_path: Path, claims: Claims, claimed: Path
) -> None:
    (tmp_path / "intent-a.json").write_bytes(b"{}")
    claim = claims.claim(b"intent-a.json")
    assert claim is not None
    assert paths_in(claimed) == [f"{claim.intent_id}.intent-a.json".encode()]
    assert claimed.stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "intent-a.json").exists()
    claims.sync([claim])


ODD_NAMES = [b"intent-\xff\xfe.json", b"intent-\n.json", b"intent- \x1b[2J.json", b"intent-..json"]


@pytest.mark.parametrize(
    "name", [long_name(228), long_name(229), long_name(255), *ODD_NAMES], ids=range(7)
)
def test_any_name_is_claimed_read_and_found_again(
    tmp_path: Path, claims: Claims, claimed: Path, name: bytes
) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"{}")
    claim = claims.claim(name)
    assert claim is not None
    claims.sync([claim])
    flat = claim.intent_id.encode() + b"." + name
    folder = claim.intent_id.encode()
    assert paths_in(claimed) == ([flat] if len(name) <= 228 else [folder, folder + b"/" + name])
    for arrival in (claims.read(claim), *claims.leftovers(())):
        assert arrival is not None
        assert (arrival.intent_id, arrival.receipt.name) == (claim.intent_id, name)
        assert arrival.content == Content(b"{}")
    assert claims.leftovers({claim.intent_id}) == []


def test_a_long_claim_stands_in_a_folder_nobody_else_may_enter(
    tmp_path: Path, claims: Claims, claimed: Path
) -> None:
    (tmp_path / long_name(229).decode()).write_bytes(b"{}")
    assert claims.claim(long_name(229)) is not None
    [folder] = claimed.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_two_files_of_one_name_are_two_claims(
    tmp_path: Path, claims: Claims, claimed: Path
) -> None:
    done = []
    for body in (b"1", b"2"):
        (tmp_path / "intent-a.json").write_bytes(body)
        done.append(claims.claim(b"intent-a.json"))
    read = [claims.read(claim) for claim in done if claim is not None]
    assert [each.content for each in read if each] == [Content(b"1"), Content(b"2")]
    assert len(paths_in(claimed)) == 2
    assert [each.content for each in claims.leftovers(())] == [Content(b"1"), Content(b"2")]


@pytest.mark.parametrize("length", [16, 229])
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_any_number_of_claims_can_be_synced(
    tmp_path: Path, claims: Claims, count: int, length: int
) -> None:
    done = []
    for number in range(count):
        name = b"intent-%02d" % number + b"x" * (length - 14) + b".json"
        (tmp_path / name.decode()).write_bytes(b"{}")
        claim = claims.claim(name)
        assert claim is not None
        done.append(claim)
    before = len(os.listdir("/proc/self/fd"))
    claims.sync(done)
    assert len(os.listdir("/proc/self/fd")) == before
    assert [c.intent_id for c in done] == sorted({c.intent_id for c in done})


@pytest.mark.parametrize("name", [b"intent-gone.json", long_name(229)], ids=["short", "long"])
def test_a_vanished_file_leaves_nothing_behind(claims: Claims, claimed: Path, name: bytes) -> None:
    assert claims.claim(name) is None
    assert paths_in(claimed) == []


@pytest.mark.parametrize("name", [b"intent-a.json", long_name(229)], ids=["short", "long"])
def test_a_deleted_folder_is_told_from_a_vanished_file(
    tmp_path: Path, claims: Claims, claimed: Path, name: bytes
) -> None:
    (tmp_path / name.decode()).write_bytes(b"{}")
    claimed.rmdir()
    with pytest.raises(OSError, match="deleted under") as raised:
        claims.claim(name)
    assert raised.value.errno == errno.ESTALE
    assert (tmp_path / name.decode()).exists()


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
    (claimed / os.fsdecode(claim.place)).unlink()
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
            claims = Claims(layout, SystemClock(), 1_000)
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


@pytest.mark.parametrize("length", [13, 229])
def test_a_leftover_was_received_when_it_was_claimed(
    tmp_path: Path, layout: Layout, claimed: Path, length: int
) -> None:
    clock = TurnedClock()
    claims, name = Claims(layout, clock, 1_000), long_name(length)
    (tmp_path / name.decode()).write_bytes(b"{}")
    os.utime(tmp_path / name.decode(), (1_700_000_000, 1_700_000_000))
    claim = claims.claim(name)
    assert claim is not None
    renamed_at = (claimed / os.fsdecode(claim.place)).stat().st_ctime
    clock.pass_time(timedelta(hours=1))
    [arrival] = claims.leftovers(())
    assert arrival.receipt.received_at == datetime.fromtimestamp(renamed_at, UTC)


def test_no_leftover_was_received_in_the_future(layout: Layout, claimed: Path) -> None:
    clock = TurnedClock()
    leave(claimed, 1, "intent-a.json")
    clock.pass_time(-timedelta(hours=1))
    [arrival] = Claims(layout, clock, 1_000).leftovers(())
    assert arrival.receipt.received_at <= clock.now()


def test_empty_claim_folders_are_removed_known_or_not(claims: Claims, claimed: Path) -> None:
    known, _ = leave_folder(claimed, 1), leave_folder(claimed, 2)
    assert claims.leftovers({known}) == []
    assert list(claimed.iterdir()) == []


def test_what_is_none_of_ours_is_left_and_logged(
    layout: Layout, claims: Claims, claimed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (claimed / "junk\x1b").mkdir()
    (claimed / number_id(1)).write_bytes(b"a file")
    (claimed / number_id(2)).symlink_to("/")
    leave_folder(claimed, 3, "intent-a.json", "intent-b.json")
    leave_folder(claimed, 4, "foreign.txt")
    leave(claimed, 5, "foreign.txt")
    for twice in ("intent-a.json", "intent-b.json"):
        leave(claimed, 6, twice)
    (claimed / f"{number_id(7)}.").write_bytes(b"no name")
    (claimed / f"{number_id(8)}-intent-a.json").write_bytes(b"no dot")
    before = paths_in(claimed)
    with caplog.at_level(logging.WARNING):
        renew_claims(layout)
        assert claims.leftovers(()) == []
    assert paths_in(claimed) == before
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 9
    assert not re.search("\x1b", "".join(lines))


@pytest.mark.parametrize("kind", ["symlink", "FIFO", "folder"])
def test_a_leftover_that_is_no_file_is_not_opened(claims: Claims, claimed: Path, kind: str) -> None:
    place = claimed / f"{number_id(1)}.intent-odd.json"
    makers = {"symlink": lambda: place.symlink_to("/"), "FIFO": lambda: os.mkfifo(place)}
    makers.get(kind, place.mkdir)()
    [arrival] = claims.leftovers(())
    assert (arrival.intent_id, arrival.content) == (number_id(1), Special(kind))


def test_claims_of_an_older_daemon_are_brought_to_where_claims_stand(
    layout: Layout, claims: Claims, claimed: Path
) -> None:
    known = leave_folder(claimed, 1, "intent-known.json")
    leave_folder(claimed, 2, "intent-lost.json")
    leave_folder(claimed, 3)
    long = leave_folder(claimed, 4, long_name(229).decode())
    (claimed / leave_folder(claimed, 5) / "intent-link.json").symlink_to("/")
    renew_claims(layout)
    arrivals = claims.leftovers({known})
    assert [arrival.intent_id for arrival in arrivals] == [number_id(n) for n in (2, 4, 5)]
    assert arrivals[0].content == Content(b"intent-lost.json")
    assert arrivals[2].content == Special("symlink")
    assert paths_in(claimed) == [
        f"{known}.intent-known.json".encode(),
        f"{number_id(2)}.intent-lost.json".encode(),
        long.encode(),
        long.encode() + b"/" + long_name(229),
        f"{number_id(5)}.intent-link.json".encode(),
    ]


@pytest.mark.parametrize("stage", ["not begun", "renamed", "renamed, folder removed"])
def test_bringing_over_that_was_cut_short_is_finished(
    layout: Layout, claims: Claims, claimed: Path, stage: str
) -> None:
    intent_id = number_id(1)
    if stage != "renamed, folder removed":
        leave_folder(claimed, 1)
    if stage == "not begun":
        (claimed / intent_id / "intent-a.json").write_bytes(b"a")
    else:
        (claimed / f"{intent_id}.intent-a.json").write_bytes(b"a")
    for _ in range(2):
        renew_claims(layout)
        [arrival] = claims.leftovers(())
        assert (arrival.intent_id, arrival.content) == (intent_id, Content(b"a"))
        assert paths_in(claimed) == [f"{intent_id}.intent-a.json".encode()]


def test_bringing_over_replaces_nothing(
    layout: Layout, claims: Claims, claimed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_folder(claimed, 1, "intent-a.json")
    (claimed / f"{number_id(1)}.intent-a.json").write_bytes(b"another")
    before = paths_in(claimed)
    renew_claims(layout)
    assert claims.leftovers(()) == []
    assert paths_in(claimed) == before
    assert (claimed / f"{number_id(1)}.intent-a.json").read_bytes() == b"another"
    assert "was never claimed: left alone" in caplog.text


def test_claims_of_an_older_daemon_that_cannot_be_read_are_a_reason_not_to_start(
    layout: Layout, claimed: Path
) -> None:
    leave_folder(claimed, 1, "intent-a.json")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(CannotStart) as raised:
            renew_claims(layout)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised.value.code == "claims_unreadable"


def test_claims_in_either_form_keep_a_handoff_from_being_drained(
    tmp_path: Path, layout: Layout, claimed: Path
) -> None:
    assert unfinished_in(layout.handoff) == 0
    leave(claimed, 1, "intent-a.json")
    leave(claimed, 2, long_name(229).decode())
    leave_folder(claimed, 3, "intent-older.json")
    leave_folder(claimed, 4)
    (claimed / f"{number_id(5)}.intent-folder.json").mkdir()
    leave(claimed, 6, "foreign.txt")
    (tmp_path / "intent-waits.json").touch()
    assert unfinished_in(layout.handoff) == 5


@pytest.mark.parametrize("name", [b"intent-a.json", long_name(229)], ids=["short", "long"])
def test_claims_are_synced_even_without_descriptors(
    tmp_path: Path, claims: Claims, name: bytes
) -> None:
    (tmp_path / name.decode()).write_bytes(b"{}")
    claim = claims.claim(name)
    assert claim is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        claims.sync([claim])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
