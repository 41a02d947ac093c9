"""What commands say to do next can be typed as it stands, and tells what really is so."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.cli.main import main
from tests.system.daemon import COMMAND, Site, intent

NOBODY = 65_534
as_root = os.geteuid() == 0


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Site:
    """Folders that are not the default ones, with a space in a name."""
    site = Site(tmp_path)
    site.handoff = tmp_path / "in box"
    site.state = tmp_path / "state"
    site.flags += ("-handoff", str(site.handoff), "-state-dir", str(site.state))
    site.flags += ("-porch", site.porch("exit 2"))
    return site


def pasted(site: Site, text: str) -> str:
    """Type into a shell, in another folder, what a text names as a command; what it prints."""
    command = text[text.index("conductor-loop ") :].splitlines()[0]
    done = subprocess.run(
        ["sh", "-c", command],
        cwd="/",
        env={**site.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_the_command_in_a_refusal_for_a_script_finds_its_daemon(elsewhere: Site) -> None:
    elsewhere.hand_over_all({"intent-a.json": intent()})
    elsewhere.once("-porch", "builtin")
    folders = ("-handoff", str(elsewhere.handoff), "-state-dir", str(elsewhere.state))
    (refusal,) = elsewhere.asked("retry", "intent-a.json", *folders)["refusals"]
    assert "published" in pasted(elsewhere, refusal["hint"].partition(" tells")[0])


def test_the_commands_of_an_error_log_find_its_daemon(elsewhere: Site) -> None:
    elsewhere.hand_over_all({"intent-a.json": intent()})
    elsewhere.once()
    log = (elsewhere.handoff / "failed/intent-a.json.error.log").read_text()
    history = next(line for line in log.splitlines() if "its whole history" in line)
    assert "failed in attempt 1" in pasted(elsewhere, history)
    retry = next(line for line in log.splitlines() if "conductor-loop retry" in line)
    assert "retried as" in pasted(elsewhere, retry)


def test_a_command_without_the_daemons_state_dir_is_told_what_it_is(elsewhere: Site) -> None:
    elsewhere.hand_over_all({"../intent-a.json": intent()})
    folder = ("-handoff", str(elsewhere.handoff))
    with elsewhere.daemon("-porch", "builtin") as daemon:
        submitted = elsewhere.command("submit", *folder, "--wait", "intent-a.json")
        elsewhere.hand_over("intent-b.json", b"{}")
        for words in (["list"], ["why", "intent-a.json"], ["pause"], ["health"]):
            done = elsewhere.command(*words, *folder)
            assert done.returncode == 1
            assert f"a daemon (pid {daemon.pid}) serves" in done.stderr
            assert done.stderr.endswith(f"-state-dir {elsewhere.state}\n")
        found = {f["subject"]: f for f in elsewhere.asked("doctor", *folder)}
    assert (submitted.returncode, submitted.stderr) == (0, "")
    assert found["daemon"]["grade"] == "warning"
    assert f"a daemon (pid {daemon.pid}) serves" in found["daemon"]["message"]


def test_an_error_log_of_an_intents_own_fault_asks_for_a_corrected_file_first(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", site.porch("exit 2"))
    log = (site.handoff / "failed/intent-a.json.error.log").read_text()
    assert "run it again as it is" not in log
    assert log.index("correct the file and hand it over again") < log.index("conductor-loop retry")


def test_the_command_that_once_hints_at_finds_its_daemon(elsewhere: Site) -> None:
    elsewhere.hand_over_all({"intent-a.json": intent()})
    complaint = elsewhere.once().stderr.splitlines()[-1]
    hinted = complaint.split(" shows which", 1)[0]
    assert "intent-a.json" in pasted(elsewhere, hinted)


def test_the_retry_that_why_hints_at_finds_its_daemon(elsewhere: Site) -> None:
    elsewhere.hand_over_all({"intent-a.json": intent()})
    elsewhere.once()
    folders = elsewhere.flags[-6:-2]
    told = elsewhere.command("why", "intent-a.json", *folders).stdout.splitlines()[-1]
    assert "retried as" in pasted(elsewhere, told)


def test_where_the_folders_are_the_default_hints_name_none(site: Site) -> None:
    site.hand_over_all({"intent-a.json": b"{}"})
    assert "hint: conductor-loop list -failed shows which" in site.once().stderr


# Files that no daemon has taken yet.


def test_why_of_a_file_that_waits_before_the_first_start_says_so(site: Site) -> None:
    site.hand_over_all({"intent-b.json": intent()})
    done = site.command("why", "intent-b.json")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "ERROR: intent-b.json waits in handoff; no daemon runs",
        "hint: start one: conductor-loop",
    ]


def test_why_of_a_file_that_waits_beside_a_journal_says_so(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once()
    site.hand_over("intent-b.json", intent())
    complaint = site.command("why", "handoff/intent-b.json").stderr
    assert "intent-b.json waits in handoff; no daemon runs" in complaint


def test_why_of_a_file_that_a_daemon_lets_wait_points_to_its_health(site: Site) -> None:
    site.handoff.mkdir()
    with site.daemon("-debounce", "1h"):
        (site.handoff / "intent-b.json").write_bytes(intent())
        complaint = site.command("why", "intent-b.json").stderr
    assert "waits in handoff; the daemon has not taken it yet" in complaint


def test_health_of_a_daemon_elsewhere_hints_at_that_one(site: Site) -> None:
    with site.daemon():
        site.command("pause")
        there = subprocess.run(
            [*COMMAND, "health", "-handoff", str(site.handoff)],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    assert f"resume with: conductor-loop resume -handoff {site.handoff}\n" in there.stdout


def test_list_before_the_first_start_tells_how_many_files_wait(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent(), "intent-b.json": intent()})
    complaint = site.command("list").stderr
    assert "ERROR: 2 files wait in handoff; no daemon has run here yet" in complaint


def test_list_without_a_daemon_tells_how_many_files_wait(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once()
    site.hand_over("intent-b.json", intent())
    told = site.command("list").stdout
    assert told.splitlines()[-1] == "1 file waits in handoff; no daemon runs"


# Another user than the daemon's.


@pytest.fixture
def private() -> Iterator[Path]:
    """A handoff folder that everybody can reach, with a state dir that its user alone can."""
    top = Path(tempfile.mkdtemp(prefix="conductor-hints-"))
    top.chmod(0o755)
    state = top / "handoff/.conductor"
    state.mkdir(parents=True, mode=0o755)
    state.chmod(0o700)
    yield top / "handoff"
    shutil.rmtree(top)


@pytest.mark.skipif(not as_root, reason="only root can be somebody else")
@pytest.mark.parametrize("words", [["list"], ["why", "intent-a.json"], ["health"], ["pause"]])
def test_another_user_is_told_who_may(
    private: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    command = [*words, "-handoff", str(private)]
    # Who is nobody may be unable to import anything more.
    importlib.import_module("conductor_loop.cli.permission")
    main(["health", "-handoff", str(private)])
    importlib.import_module(f"conductor_loop.cli.{words[0]}")
    capfd.readouterr()
    os.seteuid(NOBODY)
    try:
        status = main(command)
    finally:
        os.seteuid(0)
    told = capfd.readouterr().err
    assert status == 1
    assert f"{private}/.conductor is private to uid 0" in told
    assert "hint: run it as uid 0 (the daemon's user) or root" in told


@pytest.mark.skipif(not as_root, reason="only root can be somebody else")
def test_another_user_is_told_in_json_who_may_ask_for_the_health(
    private: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["health", "-handoff", str(private), "-json"]
    main(command)  # who is nobody may be unable to import anything more
    capfd.readouterr()
    os.seteuid(NOBODY)
    try:
        status = main(command)
    finally:
        os.seteuid(0)
    told = json.loads(capfd.readouterr().out)
    assert (status, told["live"]) == (1, False)
    assert told["error"]["code"] == "not_the_daemons_user"


# The state of the original.


def test_an_export_keeps_what_was_imported(site: Site) -> None:
    original = {
        "file_path": "/old/intent-a.json",
        "sha256": "a" * 64,
        "size": 7,
        "processed_at": "2025-01-01T00:00:00Z",
        "status": "processed",
    }
    whole = {
        "version": "1.0",
        "saved_at": "2025-01-01T00:00:00Z",
        "states": {"/old/intent-a.json": original},
    }
    (site.top / "old.json").write_text(json.dumps(whole))
    site.handoff.mkdir()
    said = site.command("state", "import", "old.json").stdout
    assert said.startswith("1 processed file was imported;")
    states = json.loads(site.command("state", "export").stdout)["states"]
    (one,) = states.values()
    assert one["file_path"] == f"{site.handoff}/intent-a.json"
    assert (one["sha256"], one["status"]) == ("a" * 64, "processed")
    assert one["processed_at"] == "2025-01-01T00:00:00Z"


def test_an_export_into_a_folder_that_is_not_there_says_so_and_blames_no_disk(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once()
    done = site.command("state", "export", "/nonexist/x")
    assert done.returncode == 2
    assert "ERROR: cannot write /nonexist/x: No such file or directory" in done.stderr
    assert "look at disk" not in done.stderr


def test_an_export_replaces_a_file_as_a_whole(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once()
    target = site.top / "state.json"
    target.write_text("old")
    before = target.stat().st_ino
    assert site.command("state", "export", "state.json").returncode == 0
    assert target.stat().st_ino != before
    assert json.loads(target.read_text())["version"] == "1.0"
    assert not list(site.top.glob(".state.json.*"))


# What list takes and shows.


def test_the_pauses_in_force_are_listed_for_scripts(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once()
    site.command("pause", "-target", "oran-sim/amf", "-why", "lunch")
    (pause,) = site.asked("list", "-paused")
    assert (pause["target"], pause["why"]) == ("oran-sim/amf", "lunch")
    assert set(pause) == {"target", "by", "at", "why"}
    assert "paused: oran-sim/amf" in site.command("list", "-paused").stdout


@pytest.mark.parametrize("limit", ["-1", "0", "many"])
def test_a_limit_of_the_list_is_a_number_of_intents(site: Site, limit: str) -> None:
    done = site.command("list", f"-limit={limit}")
    assert done.returncode == 2
    assert "is no number from 1 to" in done.stderr
