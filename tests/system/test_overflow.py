"""Events that never came, and a handoff folder that is another one all of a sudden."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from conductor_loop.adapters.control_socket import ask
from conductor_loop.core.control import Health
from conductor_loop.core.states import State
from tests.system.daemon import Site, intent, wait_until

MEMORY = "/dev/shm"
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def site_in_memory() -> Iterator[Site]:
    """A folder for very many files, where syncing costs nothing."""
    top = Path(mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    yield Site(top)
    shutil.rmtree(top)


def test_row_19_20_000_files_that_came_while_it_was_stopped_all_become_final_in_their_order(
    site_in_memory: Site,
) -> None:
    count = 20_000
    # A file written in place gives two events, created and closed.
    if int(QUEUE.read_text()) >= 2 * count:
        pytest.skip(f"{QUEUE} is so long that so few files do not overflow it")
    site = site_in_memory
    # With so long a period, only the overflow itself can make it look again.
    with site.daemon("-period", "1h", "-log-level", "error") as daemon:
        daemon.send(signal.SIGSTOP)
        for n in range(count):
            body = b"{}" if n % 50 else intent(f"t{n % 97}")
            (site.handoff / f"intent-{n:05}.json").write_bytes(body)
        daemon.send(signal.SIGCONT)
        site.wait_for_final(count, seconds=150)
        assert site.names_in(".") == [".conductor", "failed", "processed", "status"]
    good, bad = count // 50, count - count // 50
    assert site.counts() == {State.PUBLISHED: good, State.REJECTED: bad}
    assert len(site.names_in("status")) == count + 1  # and the folder of older ones
    assert len(site.names_in("processed")) == good
    assert len(site.names_in("failed")) == 2 * bad
    with site.journal() as reader:
        taken = [each.name for each in reversed(reader.summaries(limit=count))]
    assert taken == sorted(taken)


def test_a_handoff_folder_renamed_away_and_made_anew_is_served_again(site: Site) -> None:
    with site.daemon() as daemon:
        site.hand_over("intent-a.json", intent("amf"))
        site.verdict("intent-a.json")
        os.rename(site.handoff, site.top / "away")
        site.handoff.mkdir()
        site.hand_over("intent-b.json", intent("upf"))
        assert site.verdict("intent-b.json")["status"] == "success"
        assert daemon.has_said("was replaced")
        wait_until(site.is_healthy, "it is ready again")
    assert site.names_in("processed") == ["intent-b.json"]
    assert site.counts() == {State.PUBLISHED: 2}


def test_what_was_admitted_before_the_folder_went_away_ends_in_the_new_one(site: Site) -> None:
    with site.daemon():
        site.pause()
        site.hand_over("intent-a.json", intent("amf"))
        site.wait_for_state("intent-a.json", State.WAITING)
        os.rename(site.handoff, site.top / "away")
        site.handoff.mkdir()
        site.hand_over("intent-b.json", intent("upf"))
        wait_until(site.state.exists, "its own folder came along")
        site.wait_for_state("intent-b.json", State.WAITING)
        site.resume()
        assert site.verdict("intent-a.json")["status"] == "success"
        assert site.verdict("intent-b.json")["status"] == "success"
    assert site.names_in("processed") == ["intent-a.json", "intent-b.json"]


def test_while_the_handoff_folder_is_missing_it_is_not_ready(site: Site) -> None:
    with site.daemon() as daemon:
        os.rename(site.handoff, site.top / "away")
        wait_until(lambda: daemon.has_said("No such file"), "it notices")
        reply = ask(site.top / "away/.conductor", Health())
        assert reply is not None
        assert {"handoff"} == {check.name for check in reply.checks if not check.ok}
        os.rename(site.top / "away", site.handoff)
        site.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["status"] == "success"
        wait_until(site.is_healthy, "it is ready again")


def test_a_folder_of_ours_that_is_deleted_is_made_again(site: Site) -> None:
    with site.daemon():
        shutil.rmtree(site.handoff / "processed")
        shutil.rmtree(site.handoff / "status")
        site.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["status"] == "success"
    assert site.names_in("processed") == ["intent-a.json"]


def test_a_file_with_a_very_old_time_is_picked_up_all_the_same(site: Site) -> None:
    with site.daemon():
        copied = site.top / "copied"
        copied.write_bytes(intent())
        os.utime(copied, (0, 0))  # copying tools keep such times
        os.rename(copied, site.handoff / "intent-old.json")
        assert site.verdict("intent-old.json")["status"] == "success"


def test_row_07_a_file_whose_writer_pauses_is_read_when_the_writer_is_done(site: Site) -> None:
    body = intent("amf", description="x" * 1000)
    with site.daemon(), (site.handoff / "intent-slow.json").open("wb", buffering=0) as file:
        file.write(body[:100])
        # Written later, and complete after the debounce: by then the slow one was quiet as long.
        (site.handoff / "intent-later.json").write_bytes(intent("upf"))
        site.verdict("intent-later.json")
        assert (site.handoff / "intent-slow.json").exists()
        file.write(body[100:])
        file.close()
        assert site.verdict("intent-slow.json")["status"] == "success"
