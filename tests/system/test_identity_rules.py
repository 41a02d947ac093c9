"""Who is who: duplicates, names that come again, and what is handed over but is no regular file."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from conductor_loop.core.naming import collision_name, error_log_name, shown, verdict_name
from conductor_loop.core.states import State
from tests.system.daemon import PATIENCE, LogLine, Site, intent, wait_until

RECORDS = 'echo "$name" >> "$top/ledger"'
WAITS_TO_BE_TOLD = 'until [ -e "$top/go-$CONDUCTOR_INTENT_ID" ]; do /bin/sleep 0.01; done'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def again(site: Site, files: dict[str, bytes], *flags: str) -> int:
    """Hand over, and work through it; the exit status."""
    site.hand_over_all(files)
    return site.once(*flags).returncode


# Duplicates.


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The very same file handed over twice, the second time after the first was done."""
    site = Site(tmp_path_factory.mktemp("twice"))
    flags = ("-porch", site.porch(RECORDS))
    assert again(site, {"intent-a.json": intent()}, *flags) == 0
    (site.top / "first").write_bytes(site.verdict_path("intent-a.json").read_bytes())
    assert again(site, {"intent-a.json": intent()}, *flags) == 0
    return site


def test_row_22_a_duplicate_is_not_run(twice: Site) -> None:
    assert twice.ledger() == ["intent-a.json"]


def test_a_duplicate_is_recorded_with_the_id_of_the_first(twice: Site) -> None:
    assert twice.counts() == {State.PUBLISHED: 1, State.DUPLICATE: 1}
    first = twice.verdict("intent-a.json")["intent_id"]
    (duplicate,) = twice.asked("why", "intent-a.json")["duplicates"]
    history = twice.asked("why", duplicate)["history"]
    assert [(entry["event"], entry["first"]) for entry in history] == [("Duplicated", first)]


def test_a_duplicate_leaves_the_verdict_of_the_first_untouched(twice: Site) -> None:
    first = (twice.top / "first").read_bytes()
    assert twice.verdict_path("intent-a.json").read_bytes() == first
    assert twice.names_in("status/history") == []


def test_the_file_of_a_duplicate_is_kept_under_a_name_of_its_own(twice: Site) -> None:
    own = f"intent-a.{twice.intent_id('intent-a.json')}.json"
    assert twice.names_in("processed") == sorted(["intent-a.json", own])
    assert (twice.handoff / "processed" / own).read_bytes() == intent()


def test_a_duplicate_is_logged_in_one_line_that_names_the_verdict_that_stands(site: Site) -> None:
    with site.daemon() as daemon:
        site.hand_over("intent-a.json", intent(correlation_id="c-1"))
        first = site.verdict("intent-a.json")["intent_id"]
        site.hand_over("intent-a.json", intent(correlation_id="c-1"))
        site.wait_for_final(2)
        second = site.intent_id("intent-a.json")

        def logged() -> list[LogLine]:
            # A notice may tell of the same bytes besides, as a signal to a guard.
            told = [line for line in daemon.log() if line.get("conductor.intent.id") == second]
            return [line for line in told if "duplicate" in line["message"]]

        wait_until(lambda: bool(logged()), "it is logged")
        (line,) = logged()
    assert first in line["message"]
    named = (line["file.name"], line["conductor.correlation_id"])
    assert named == ("intent-a.json", "c-1")


def test_the_same_file_handed_over_while_the_first_waits_is_a_duplicate_too(site: Site) -> None:
    with site.daemon():
        site.pause()
        for _ in range(2):
            site.hand_over("intent-a.json", intent())
            wait_until(lambda: "intent-a.json" not in os.listdir(site.handoff), "it is taken")
        site.resume()
        site.wait_for_final(2)
    assert site.counts() == {State.PUBLISHED: 1, State.DUPLICATE: 1}
    assert len(site.names_in("processed")) == 2


def test_row_22_the_same_content_under_another_name_runs(site: Site) -> None:
    porch = site.porch(RECORDS)
    files = {"intent-a.json": intent(), "intent-b.json": intent()}
    assert again(site, files, "-porch", porch) == 0
    assert site.ledger() == ["intent-a.json", "intent-b.json"]


def test_the_same_file_after_a_newer_intent_of_its_target_runs_again(site: Site) -> None:
    porch = site.porch(RECORDS)
    for name in ("intent-a.json", "intent-b.json", "intent-a.json"):
        assert again(site, {name: intent(description=name)}, "-porch", porch) == 0
    assert site.ledger() == ["intent-a.json", "intent-b.json", "intent-a.json"]


# Names that come again.


def test_row_23_new_content_under_an_old_name_runs_and_the_old_verdict_is_history(
    site: Site,
) -> None:
    assert again(site, {"intent-a.json": intent(replicas=1)}) == 0
    old = site.verdict_path("intent-a.json").read_bytes()
    assert again(site, {"intent-a.json": intent(replicas=2)}) == 0
    new = site.verdict("intent-a.json")
    assert new["intent_sha256"] == hashlib.sha256(intent(replicas=2)).hexdigest()
    old_id = json.loads(old)["intent_id"]
    assert site.names_in("status/history") == [f"{old_id}.status"]
    assert (site.handoff / f"status/history/{old_id}.status").read_bytes() == old
    assert site.names_in("processed") == sorted(
        ["intent-a.json", f"intent-a.{new['intent_id']}.json"]
    )


def test_nobody_reads_yesterdays_verdict_while_the_new_one_is_under_way(site: Site) -> None:
    porch = site.porch('[ -e "$top/hang" ] && exec /bin/sleep 1000; exit 0')
    assert again(site, {"intent-a.json": intent(replicas=1)}, "-porch", porch) == 0
    (site.top / "hang").touch()
    with site.daemon("-porch", porch, "-grace", "1ms"):
        site.hand_over("intent-a.json", intent(replicas=2))
        wait_until(lambda: len(site.names_in("status/history")) == 1, "the old one is history")
        assert not site.verdict_path("intent-a.json").exists()


def run_two_of_a_name(site: Site) -> list[str]:
    """Hand over two of the same name for two targets; their ids, once both run."""
    ids: list[str] = []
    for target in ("amf", "upf"):
        site.hand_over("intent-a.json", intent(target))
        wait_until(lambda: site.counts()[State.RUNNING] > len(ids), "it runs")
        ids.append(site.intent_id("intent-a.json"))
    return ids


def test_the_verdict_of_a_name_is_always_that_of_the_newest_even_if_an_older_ends_later(
    site: Site,
) -> None:
    with site.daemon("-porch", site.porch(WAITS_TO_BE_TOLD)):
        ids = run_two_of_a_name(site)
        for intent_id in reversed(ids):
            (site.top / f"go-{intent_id}").touch()
            wait_until(lambda: site.verdict_path("intent-a.json").exists(), "the newest is done")
        wait_until(lambda: site.names_in("status/history") != [], "the older one is done")
    assert site.verdict("intent-a.json")["intent_id"] == ids[1]
    assert site.names_in("status/history") == [f"{ids[0]}.status"]


def test_an_older_one_of_a_name_that_ends_first_leaves_the_place_to_the_newest(site: Site) -> None:
    with site.daemon("-porch", site.porch(WAITS_TO_BE_TOLD)):
        ids = run_two_of_a_name(site)
        (site.top / f"go-{ids[0]}").touch()
        wait_until(lambda: site.names_in("status/history") != [], "the older one is done")
        assert not site.verdict_path("intent-a.json").exists()
        (site.top / f"go-{ids[1]}").touch()
        assert site.verdict("intent-a.json")["intent_id"] == ids[1]
    assert site.names_in("status/history") == [f"{ids[0]}.status"]


def test_a_failed_intent_handed_over_again_runs_again(site: Site) -> None:
    porch = site.porch('echo "$name" >> "$top/ledger"; [ -e "$top/mended" ] || exit 2')
    assert again(site, {"intent-a.json": intent()}, "-porch", porch) == 8
    (site.top / "mended").touch()
    assert again(site, {"intent-a.json": intent()}, "-porch", porch) == 0
    assert site.ledger() == ["intent-a.json"] * 2
    assert site.verdict("intent-a.json")["status"] == "success"
    assert site.names_in("failed") == ["intent-a.json", "intent-a.json.error.log"]
    assert site.names_in("processed") == ["intent-a.json"]


def test_a_rejected_file_handed_over_again_is_rejected_again(site: Site) -> None:
    for _ in range(2):
        assert again(site, {"intent-a.json": b"{}"}) == 8
    own = f"intent-a.{site.intent_id('intent-a.json')}.json"
    names = ["intent-a.json", "intent-a.json.error.log", own, f"{own}.error.log"]
    assert site.names_in("failed") == sorted(names)


def test_what_somebody_put_into_processed_is_never_overwritten(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    (site.handoff / "processed").mkdir()
    (site.handoff / "processed/intent-a.json").write_text("theirs")
    assert site.once().returncode == 0
    assert (site.handoff / "processed/intent-a.json").read_text() == "theirs"
    own = f"intent-a.{site.intent_id('intent-a.json')}.json"
    assert (site.handoff / "processed" / own).read_bytes() == intent()


# What the original had processed.


def original_state(site: Site, name: str, body: bytes, status: str = "processed") -> bytes:
    path = f"{site.handoff}/{name}"
    entry = {
        "file_path": path,
        "sha256": hashlib.sha256(body).hexdigest(),
        "size": len(body),
        "processed_at": "2024-08-15T10:30:00.123456789+02:00",
        "status": status,
    }
    state = {"version": "1.0", "saved_at": "2024-08-15T10:30:01Z", "states": {path: entry}}
    return json.dumps(state).encode()


@pytest.mark.parametrize(
    ("status", "file", "runs"),
    [("processed", intent(), 0), ("processed", intent(replicas=2), 1), ("failed", intent(), 1)],
)
def test_what_the_original_had_processed_is_not_run_again(
    site: Site, status: str, file: bytes, runs: int
) -> None:
    site.handoff.mkdir()
    state = original_state(site, "intent-a.json", intent(), status)
    (site.handoff / ".conductor-state.json").write_bytes(state)
    porch = site.porch(RECORDS)
    assert again(site, {"intent-a.json": file}, "-porch", porch) == 0
    assert len(site.ledger()) == runs
    assert site.counts() == {State.PUBLISHED if runs else State.DUPLICATE: 1}
    assert (site.handoff / ".conductor-state.json").read_bytes() == state


def test_a_state_of_the_original_that_cannot_be_read_stops_the_start(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    (site.handoff / ".conductor-state.json").write_text("{")
    done = site.once()
    assert done.returncode == 1
    assert ".conductor-state.json was left by the original and cannot be read" in done.stderr
    assert "hint: " in done.stderr
    assert "intent-a.json" in os.listdir(site.handoff)


# What is no regular file.


def make_symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_dangling_symlink(path: Path) -> None:
    path.symlink_to("/nowhere")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # the path of a socket may not be long
        listener.bind(path.name)


@pytest.mark.parametrize("make", [make_symlink, make_dangling_symlink, make_fifo, make_socket])
def test_row_01_03_what_is_no_regular_file_goes_to_quarantine_with_a_verdict(
    site: Site, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(site.top)
    with site.daemon():
        make(site.handoff / "intent-odd.json")
        verdict = site.verdict("intent-odd.json")
        site.hand_over("intent-good.json", intent())
        assert site.verdict("intent-good.json")["status"] == "success"
    assert verdict["status"] == "failed"
    assert verdict["error"]["code"].startswith("special_")
    inside = site.names_in(f".conductor/quarantine/{verdict['intent_id']}")
    assert inside == ["intent-odd.json"]
    assert site.names_in(".") == [".conductor", "failed", "processed", "status"]


def test_row_04_a_folder_of_that_name_is_left_alone_warned_about_once_and_listed(
    site: Site,
) -> None:
    (site.handoff / "intent-folder.json").mkdir(parents=True)
    with site.daemon("-period", "50ms") as daemon:
        for n in range(3):
            site.hand_over(f"intent-{n}.json", intent(f"t{n}"))
            site.verdict(f"intent-{n}.json")
        warnings = [m for m in daemon.messages() if "intent-folder.json is left alone" in m]
        assert len(warnings) == 1
    (ignored,) = site.asked("list", "--ignored")
    assert ignored["name"] == "intent-folder.json"
    assert ignored["remedy"]
    assert (site.handoff / "intent-folder.json").is_dir()


def test_other_files_are_left_alone(site: Site) -> None:
    site.handoff.mkdir()
    names = [".hidden", "INTENT-a.json", "intent-a.JSON", "intent-a.json.tmp", "note.txt"]
    for name in names:
        (site.handoff / name).write_bytes(intent())
    assert site.once().returncode == 0
    assert {n for n in os.listdir(site.handoff) if n in names} == set(names)
    assert site.counts() == {}


def test_row_02_a_file_with_two_names_is_waited_for_then_failed(site: Site) -> None:
    with site.daemon():
        site.hand_over("note.txt", intent())
        os.link(site.handoff / "note.txt", site.handoff / "intent-a.json")
        verdict = site.verdict("intent-a.json")
    assert (verdict["status"], verdict["error"]["code"]) == ("failed", "hard_linked")


def test_a_file_delivered_by_link_and_unlink_is_taken(site: Site) -> None:
    with site.daemon("-debounce", "200ms"):
        site.hand_over("note.txt", intent())
        os.link(site.handoff / "note.txt", site.handoff / "intent-a.json")
        os.unlink(site.handoff / "note.txt")
        assert site.verdict("intent-a.json")["status"] == "success"


# Hostile names.

HOSTILE = [
    b"intent-\xff\xfe.json",
    b"intent-\n\x1b[2J.json",
    "intent-\u202egpj.json".encode(),
    b"intent-..json",
    b"intent-a\\b.json",
    b"intent-" + b"x" * 243 + b".json",
    b"intent-" + "ü".encode() * 121 + b".json",
    b"intent-a.json.json",
    b"intent-%s%n{}.json",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Each hostile name once with a good intent, and once more with a bad one."""
    site = Site(tmp_path_factory.mktemp("hostile"))
    site.handoff.mkdir()
    for number, name in enumerate(HOSTILE):
        site.hand_over(name, intent(f"t{number}"))
    assert site.once().returncode == 0
    for name in HOSTILE:
        site.hand_over(name, b"{}")
    assert site.once().returncode == 8
    return site


@pytest.mark.parametrize("name", HOSTILE)
def test_row_11_a_hostile_name_is_filed_as_it_is(hostile: Site, name: bytes) -> None:
    handoff = os.fsencode(hostile.handoff)
    processed, failed = os.listdir(handoff + b"/processed"), os.listdir(handoff + b"/failed")
    assert name in processed
    assert {name, error_log_name(name)} <= set(failed)


@pytest.mark.parametrize("name", HOSTILE)
def test_row_11_the_verdict_of_a_hostile_name_shows_it_escaped(hostile: Site, name: bytes) -> None:
    path = os.fsencode(hostile.handoff) + b"/status/" + verdict_name(name)
    with open(path, "rb") as file:
        verdict = json.load(file)
    assert verdict["intent_file"] == shown(name)
    assert verdict["intent_file"].isprintable()
    assert verdict["status"] == "failed"


def test_row_11_nothing_hostile_reaches_log_or_terminal(hostile: Site) -> None:
    listed = hostile.command("list", "-limit", "100")
    assert listed.stdout.count("\n") == 2 * len(HOSTILE) + 2
    assert all(line.isprintable() for line in listed.stdout.splitlines())
    for name in HOSTILE[:3]:
        told = hostile.command("why", os.fsdecode(name))
        assert told.returncode == 0
        assert all(line.isprintable() for line in told.stdout.splitlines())


def test_a_long_name_that_comes_again_still_finds_a_place(site: Site) -> None:
    name = "intent-" + "x" * 243 + ".json"
    assert again(site, {name: intent(replicas=1)}) == 0
    assert again(site, {name: intent(replicas=2)}) == 0
    own = collision_name(name.encode(), site.intent_id(name)).decode()
    assert Counter(site.names_in("processed")) == Counter([name, own])
    assert len(own.encode()) <= 255


# Who may serve a folder.


def test_row_39_a_second_daemon_is_refused_and_told_the_pid_of_the_first(site: Site) -> None:
    with site.daemon() as daemon:
        done = site.command(*site.flags)
        assert done.returncode == 1
        assert f"pid {daemon.pid} on {socket.gethostname()}" in done.stderr
        assert "hint: " in done.stderr
        assert site.once().returncode == 1
        site.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["status"] == "success"


def test_a_second_daemon_with_another_handoff_but_the_same_state_is_refused(site: Site) -> None:
    with site.daemon("-state-dir", "shared", ready=False) as daemon:
        wait_until((site.top / "shared/control.sock").exists, "it serves")
        done = site.command(*site.flags, "-handoff", "other", "-state-dir", "shared")
        assert done.returncode == 1
        assert f"pid {daemon.pid} on" in done.stderr


def test_a_lock_that_a_dead_daemon_left_is_no_obstacle(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.kill()
    assert site.once().returncode == 0


def test_two_instances_on_two_folders_do_not_meet(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    other.top.mkdir()
    with site.daemon(), other.daemon():
        for each in (site, other):
            each.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["intent_id"]
        assert other.verdict("intent-a.json")["status"] == "success"
        wait_until(site.is_healthy, "both are well", PATIENCE)
