"""`distribute` between two file systems: each copy is finished by its own inbox, and once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.system.daemon import Daemon, intent, wait_until
from tests.system.divided import Divided, place_of

CLAIM = "01KAAAAAAAAAAAAAAAAAAAAAAA"
"""As a predecessor left it, so that the folder of its copy is known before it is made."""
MINE = intent("amf", 3)
# Where strace(1) stops a distributor: in which folder, and after which call.
COPY_IS_EMPTY = ("{copy}", "openat")
COPY_IS_WHOLE = ("{copy}/intent-a.json", "fchmod")
CLAIM_IS_GONE = ("{claimed}", "unlinkat")


@pytest.fixture
def far(divided: Divided, elsewhere: Path) -> Divided:
    """An inbox with a claim in it, before handoffs on another file system."""
    for ordinal, site in enumerate(divided.sites):
        site.handoff = elsewhere / str(ordinal)
        site.handoff.mkdir()
    assert divided.distributed().returncode == 0
    (divided.state / "claimed" / f"{CLAIM}.intent-a.json").write_bytes(MINE)
    return divided


def place(far: Divided) -> Path:
    """Where the claim will come."""
    return far.sites[place_of("amf")].handoff / "intent-a.json"


def another(far: Divided) -> Divided:
    """Another inbox before the same handoffs."""
    other = Divided(far.top / "another")
    other.sites = far.sites
    return other


def left_behind(far: Divided) -> list[Path]:
    """Copies that wait for their name."""
    return [path for site in far.sites for path in site.handoff.glob(".arriving-*")]


@contextlib.contextmanager
def stopped(far: Divided, where: tuple[str, str]) -> Iterator[Daemon]:
    """Run a distributor that is stopped in the middle of its copy."""
    with struck(far, where, "signal=SIGSTOP") as distributor:
        log = far.top / "strace"
        wait_until(lambda: "stopped by SIGSTOP" in log.read_text(), "it stops")
        yield distributor


@contextlib.contextmanager
def struck(far: Divided, where: tuple[str, str], fault: str) -> Iterator[Daemon]:
    """Run a distributor whose copy meets a fault (strace(1)) once."""
    inbox = (far.state / "inbox-id").read_text()
    folders = {
        "claimed": far.state / "claimed",
        "copy": place(far).parent / f".arriving-{inbox}-{CLAIM}",
    }
    folder, call = where
    log = far.top / "strace"
    log.touch()
    path = folder.format_map(folders)
    faults = ("-e", f"trace={call}", "-e", f"inject={call}:{fault}:when=1", "-P", path)
    far.before = ["strace", "-D", "-f", "-qq", "-o", str(log), *faults]
    with far.distributor() as distributor:
        far.before = []
        yield distributor


@pytest.mark.needs("strace")
@pytest.mark.parametrize("where", [COPY_IS_EMPTY, COPY_IS_WHOLE, CLAIM_IS_GONE])
def test_another_inbox_leaves_a_copy_to_the_distributor_that_makes_it(
    far: Divided, where: tuple[str, str]
) -> None:
    other = another(far)
    with stopped(far, where) as first:
        other.hand_over("intent-b.json", intent("amf", 5))
        done = other.distributed()
        assert (done.returncode, done.stdout) == (0, "1 moved, 0 set aside, 0 kept\n")
        assert (place(far).parent / "intent-b.json").read_bytes() == intent("amf", 5)
        assert not place(far).exists()
        first.send(signal.SIGCONT)
        wait_until(place(far).exists, "it goes on")
        wait_until(lambda: first.has_said("intent-a.json goes to"), "it knows")
    assert place(far).read_bytes() == MINE
    assert (left_behind(far), far.claims()) == ([], [])
    assert far.distributed().stdout == "0 moved, 0 set aside, 0 kept\n"


@pytest.mark.needs("strace")
@pytest.mark.parametrize("where", [COPY_IS_EMPTY, COPY_IS_WHOLE, CLAIM_IS_GONE])
def test_another_inbox_leaves_what_a_killed_distributor_copied_to_its_successor(
    far: Divided, where: tuple[str, str]
) -> None:
    with stopped(far, where) as first:
        first.kill()
    done = another(far).distributed()
    assert (done.returncode, "1 copies in" in done.stderr) == (0, True)
    assert not place(far).exists()
    assert far.distributed().returncode == 0
    assert place(far).read_bytes() == MINE
    assert (left_behind(far), far.claims()) == ([], [])


@pytest.mark.needs("strace")
def test_a_copy_whose_name_was_taken_meanwhile_gets_it_later(far: Divided) -> None:
    with stopped(far, CLAIM_IS_GONE) as distributor:
        assert far.claims() == []
        place(far).mkdir()
        distributor.send(signal.SIGCONT)
        wait_until(lambda: distributor.has_said("intent-a.json waits"), "it notices")
        far.hand_over("intent-c.json", intent("smf"))
        wait_until(lambda: "intent-c.json" in far.names_at(place_of("smf")), "others go on")
        place(far).rmdir()
        wait_until(place(far).is_file, "it is free")
        wait_until(lambda: distributor.has_said("intent-a.json goes to"), "it knows")
    assert place(far).read_bytes() == MINE
    assert (left_behind(far), far.claims()) == ([], [])


@pytest.mark.needs("strace")
def test_a_copy_that_has_no_room_when_it_is_synced_is_made_anew(far: Divided) -> None:
    with struck(far, ("{copy}/intent-a.json", "fsync"), "error=ENOSPC") as distributor:
        wait_until(lambda: distributor.has_said("No space left on device"), "it says so")
        wait_until(place(far).exists, "it goes on")
    assert place(far).read_bytes() == MINE
    assert (left_behind(far), far.claims()) == ([], [])


@pytest.mark.needs("strace")
def test_a_copy_in_a_handoff_that_was_replaced_is_waited_for(far: Divided) -> None:
    handoff = place(far).parent
    away, another_one = handoff.with_name("away"), handoff.with_name("another")
    with stopped(far, CLAIM_IS_GONE) as distributor:
        handoff.rename(away)
        handoff.mkdir()
        (away / "intent-a.json").mkdir()
        distributor.send(signal.SIGCONT)
        wait_until(lambda: distributor.has_said("another folder is in the place"), "it notices")
        far.hand_over("intent-b.json", intent("amf", 5))
        wait_until(lambda: far.claims() == ["intent-b.json"], "what comes later waits")
        handoff.rename(another_one)
        away.rename(handoff)
        place(far).rmdir()
        wait_until(lambda: distributor.has_said("intent-b.json goes to"), "both follow")
    assert place(far).read_bytes() == MINE
    assert list(another_one.iterdir()) == []
    assert (left_behind(far), far.claims()) == ([], [])


@pytest.mark.needs("strace")
def test_a_start_with_a_copy_whose_name_is_taken_keeps_its_target_back_alone(far: Divided) -> None:
    with stopped(far, CLAIM_IS_GONE) as first:
        first.kill()
    place(far).write_bytes(b"theirs")
    later = far.state / "claimed" / f"{CLAIM.replace('A', 'B')}.intent-b.json"
    later.write_bytes(intent("amf", 4))
    far.hand_over("intent-c.json", intent("smf"))
    done = far.distributed()
    assert (done.returncode, done.stdout) == (1, "1 moved, 0 set aside, 2 kept\n")
    assert far.names_at(place_of("smf"))[-1] == "intent-c.json"
    with far.distributor() as second:
        wait_until(lambda: second.has_said("intent-a.json waits"), "it waits")
        assert place(far).read_bytes() == b"theirs"
        place(far).unlink()
        wait_until(lambda: second.has_said("intent-b.json goes to"), "both follow")
        assert [second.has_said(f"intent-{letter}.json goes to") for letter in "ab"] == [True] * 2
    assert place(far).read_bytes() == MINE
    assert (left_behind(far), far.claims()) == ([], [])


@pytest.mark.needs("strace")
def test_a_handoff_that_a_copy_waits_in_is_not_drained(far: Divided) -> None:
    with stopped(far, CLAIM_IS_GONE) as first:
        first.kill()
    place(far).mkdir()  # a folder: no daemon will take it
    gone = far.sites.pop(place_of("amf"))
    done = far.distributed()
    assert (done.returncode, "1 intents of" in done.stderr) == (1, True)
    (gone.handoff / "intent-a.json").rmdir()
    assert "1 intents of" in far.distributed().stderr
    assert (gone.handoff / "intent-a.json").read_bytes() == MINE


@pytest.mark.parametrize("planted", ["a link", "a file"])
def test_what_stands_in_place_of_a_copy_is_never_followed(far: Divided, planted: str) -> None:
    theirs = far.top / "theirs"
    theirs.mkdir(mode=0o777)
    (theirs / "intent-a.json").write_bytes(b"theirs")
    name = f".arriving-{(far.state / 'inbox-id').read_text()}-{CLAIM}"
    in_place = place(far).parent / name
    in_place.symlink_to(theirs) if planted == "a link" else in_place.touch()
    far.hand_over("intent-c.json", intent("smf"))
    done = far.distributed()
    assert (done.returncode, done.stdout) == (1, "1 moved, 0 set aside, 1 kept\n")
    assert f"{name} in" in done.stderr
    assert [path.read_bytes() for path in theirs.iterdir()] == [b"theirs"]
    in_place.unlink()
    assert far.distributed().returncode == 0
    assert place(far).read_bytes() == MINE


def test_an_inbox_keeps_its_id_wherever_it_is_moved(divided: Divided) -> None:
    assert divided.distributed().returncode == 0
    first = (divided.state / "inbox-id").read_text()
    divided.handoff = divided.handoff.rename(divided.top / "front" / "moved")
    assert divided.distributed().returncode == 0
    assert (divided.handoff / ".conductor/inbox-id").read_text() == first
    other = another(divided)
    assert other.distributed().returncode == 0
    assert (other.state / "inbox-id").read_text() != first


def test_an_inbox_whose_id_was_spoiled_is_not_divided(divided: Divided) -> None:
    assert divided.distributed().returncode == 0
    (divided.state / "inbox-id").write_bytes(b"\xff")
    divided.hand_over("intent-a.json", intent("amf"))
    done = divided.distributed()
    assert (done.returncode, "has no id in it" in done.stderr) == (1, True)
    assert (divided.handoff / "intent-a.json").exists()


def test_a_link_in_place_of_a_handoff_is_never_followed(divided: Divided) -> None:
    handoff = divided.sites[place_of("amf")].handoff
    # Where the distributor may move files to, confined as it is.
    away, theirs = divided.top / "away", divided.handoff / "theirs"
    theirs.mkdir()
    with divided.distributor() as distributor:
        handoff.rename(away)
        handoff.symlink_to(theirs)
        divided.hand_over("intent-a.json", intent("amf"))
        wait_until(lambda: distributor.has_said("nothing can be moved into"), "it notices")
        handoff.unlink()
        away.rename(handoff)
        wait_until((handoff / "intent-a.json").exists, "it goes on")
    assert list(theirs.iterdir()) == []


@pytest.mark.needs("strace")
def test_where_no_rename_can_refuse_to_replace_two_inboxes_take_turns(divided: Divided) -> None:
    # As NFS answers; stopped after it was looked whether the name is free, before the rename.
    other, handoff = another(divided), place(divided).parent
    calls, log = ("renameat2", "newfstatat"), divided.top / "strace"
    answers = ("-e", "inject=renameat2:error=EINVAL")
    stops = ("-e", "inject=newfstatat:signal=SIGSTOP", "-P", str(handoff), "-o", str(log))
    strace = ("strace", "-D", "-f", "-qq", "-e", f"trace={','.join(calls)}", *answers)
    log.touch()
    divided.before = [*strace, *stops]
    other.before = [*strace, "-o", "/dev/null"]
    divided.hand_over("intent-a.json", MINE)
    other.hand_over("intent-a.json", intent("amf", 5))
    with divided.distributor(begins=False) as first:
        go_on_until_it_looked(first, log, "intent-a.json")
        done = other.distributed()
        assert (done.returncode, done.stdout) == (1, "0 moved, 0 set aside, 1 kept\n")
        first.send(signal.SIGCONT)
        wait_until(lambda: first.has_said("intent-a.json goes to"), "it goes on")
        first.kill()
    assert place(divided).read_bytes() == MINE
    place(divided).unlink()
    assert other.distributed().returncode == 0
    assert place(divided).read_bytes() == intent("amf", 5)


def go_on_until_it_looked(distributor: Daemon, log: Path, name: str) -> None:
    """Let go of a distributor that is stopped at each look, but not of the one at this name."""
    for stops in range(1, 100):
        wait_until(partial(has_stopped, log, stops), "it stops")
        if any(name in line and "newfstatat(" in line for line in log.read_text().splitlines()):
            return
        distributor.send(signal.SIGCONT)
    pytest.fail("it never looked")


def has_stopped(log: Path, times: int) -> bool:
    """Whether strace has told of so many stops."""
    return log.read_text().count("stopped by SIGSTOP") >= times
