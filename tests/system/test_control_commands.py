"""The commands of an operator, beside a daemon and without one."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.journal import open_journal
from conductor_loop.adapters.users import user_name
from conductor_loop.core.events import Paused
from conductor_loop.core.records import Record
from conductor_loop.core.states import State
from tests.system.daemon import Daemon, Site, intent, wait_until

RECORDS = 'echo "$name" >> "$top/ledger"'
HANGS = 'echo "$name" >> "$top/ledger"; [ -e "$top/go" ] || exec /bin/sleep 1000'
WHO = user_name(os.geteuid())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def daemon(site: Site) -> Iterator[Daemon]:
    """A daemon whose porch hangs until there is a file `go`."""
    with site.daemon("-porch", site.porch(HANGS), "-grace", "1ms") as daemon:
        yield daemon


def done(site: Site, *words: str) -> str:
    """Type a command that succeeds; what it prints."""
    finished = site.command(*words)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def refused(site: Site, *words: str, status: int = 1) -> str:
    """Type a command that is refused, with a hint; what it complains."""
    finished = site.command(*words)
    assert finished.returncode == status, finished.stdout
    assert finished.stderr.startswith("ERROR: ")
    return finished.stderr


def waiting(site: Site, **intents: bytes) -> None:
    """Hand over while everything is paused, so that it waits."""
    for name, body in intents.items():
        site.hand_over(f"intent-{name}.json", body)
        site.wait_for_state(f"intent-{name}.json", State.WAITING)


# Pause and resume.


@pytest.mark.usefixtures("daemon")
def test_while_paused_files_are_taken_and_checked_but_nothing_runs(site: Site) -> None:
    assert done(site, "pause", "-why", "change freeze") == "paused: everything\n"
    site.hand_over("intent-bad.json", b"{}")
    waiting(site, a=intent())
    assert site.verdict("intent-bad.json")["status"] == "failed"
    assert site.ledger() == []
    (site.top / "go").touch()
    assert done(site, "resume") == "resumed: everything\n"
    assert site.verdict("intent-a.json")["status"] == "success"


@pytest.mark.usefixtures("daemon")
def test_a_paused_target_does_not_keep_others_waiting(site: Site) -> None:
    (site.top / "go").touch()
    done(site, "pause", "-target", "oran-sim/amf")
    waiting(site, a=intent("amf"))
    site.hand_over("intent-b.json", intent("upf"))
    assert site.verdict("intent-b.json")["status"] == "success"
    assert site.ledger() == ["intent-b.json"]
    done(site, "resume", "-target", "oran-sim/amf")
    assert site.verdict("intent-a.json")["status"] == "success"


def test_a_paused_target_with_a_long_queue_does_not_keep_others_waiting(site: Site) -> None:
    with site.daemon():
        done(site, "pause", "-target", "oran-sim/amf")
        site.hand_over_all({f"intent-{n:04}.json": intent("amf", n % 100) for n in range(1100)})
        wait_until(lambda: site.counts()[State.WAITING] >= 1000, "most of them wait")
        site.hand_over("intent-other.json", intent("upf", priority=10))
        verdict_path = site.verdict_path("intent-other.json")
        wait_until(verdict_path.exists, "the other one has its verdict", seconds=30)


@pytest.mark.usefixtures("daemon")
def test_resuming_everything_leaves_a_paused_target_paused(site: Site) -> None:
    (site.top / "go").touch()
    done(site, "pause", "-target", "oran-sim/amf")
    site.pause()
    site.resume()
    waiting(site, a=intent("amf"))
    site.hand_over("intent-b.json", intent("upf"))
    site.verdict("intent-b.json")
    assert site.counts() == {State.WAITING: 1, State.PUBLISHED: 1}


def test_a_pause_outlives_a_restart_and_tells_who_and_why(site: Site) -> None:
    with site.daemon():
        done(site, "pause", "-why", "change freeze")
    site.hand_over_all({"intent-a.json": intent()})
    with site.daemon() as daemon:
        site.wait_for_state("intent-a.json", State.WAITING)
        assert not site.is_healthy()
        told = done(site, "list")
        assert f"paused: everything, by {WHO}" in told
        assert "change freeze" in told
        site.resume()
        assert site.verdict("intent-a.json")["status"] == "success"
        assert daemon.has_said("everything resumed by")


def test_no_command_denies_a_history_whose_journal_is_gone(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once()
    state = {"version": "1.0", "saved_at": "2025-01-01T00:00:00Z", "states": {}}
    (site.top / "state.json").write_text(json.dumps(state))
    (site.state / "journal.db").unlink()

    for command in (
        "list", "why intent-a.json", "pause", "retry -failed", "state export",
        "state import state.json",
    ):  # fmt: skip
        assert "is gone, or empty" in refused(site, *command.split())
    assert not (site.state / "journal.db").exists()

    done(site, "state", "rebuild")
    assert "in all: 1 published" in done(site, "list")


def test_a_pause_can_be_set_and_lifted_while_no_daemon_runs(site: Site) -> None:
    site.once()
    site.hand_over_all({"intent-a.json": intent("amf"), "intent-b.json": intent("upf")})
    assert done(site, "pause", "-target", "oran-sim/amf").endswith(
        "no daemon runs here: it holds from its next start on\n"
    )
    with site.daemon():
        assert site.verdict("intent-b.json")["status"] == "success"
        site.wait_for_state("intent-a.json", State.WAITING)
    done(site, "resume", "-target", "oran-sim/amf")
    assert site.once().returncode == 0
    assert site.counts() == {State.PUBLISHED: 2}


def test_a_journal_that_others_could_read_is_told_of_by_the_command_that_closes_it(
    site: Site,
) -> None:
    site.once()
    (site.state / "journal.db").chmod(0o644)
    done(site, "pause")

    site.once()
    (record,) = site.asked("audit", "show", "--action", "security.state_mode_changed")
    assert record["resource"] == str(site.state / "journal.db")
    assert record["details"] == {"found": "0644", "now": "0600"}


def test_a_daemon_that_stands_still_is_asked_for_nothing_that_could_come_true_later(
    site: Site, daemon: Daemon
) -> None:
    daemon.send(signal.SIGSTOP)
    try:
        complaint = refused(site, "pause")
    finally:
        daemon.send(signal.SIGCONT)

    assert "gives no answer" in complaint
    wait_until(lambda: site.is_ready(daemon), "it goes on")
    assert "paused" not in done(site, "list")


def test_once_gives_up_when_it_is_paused_for_longer_than_the_timeout(site: Site) -> None:
    site.once()
    site.hand_over_all({"intent-a.json": intent()})
    done(site, "pause")
    finished = site.once("-timeout", "300ms")
    assert finished.returncode == 1
    assert finished.stdout.startswith("1 kept in ")
    assert "ERROR: gave up, 1 intent is kept for the next start" in finished.stderr
    assert f"hint: paused by {WHO} since " in finished.stderr
    assert ": conductor-loop resume\n" in finished.stderr
    done(site, "resume")
    assert site.once().returncode == 0


def test_once_gives_up_when_only_a_paused_target_is_left(site: Site) -> None:
    site.once()
    site.hand_over_all({"intent-a.json": intent("amf"), "intent-b.json": intent("upf")})
    done(site, "pause", "-target", "oran-sim/amf")
    with site.daemon("-once", "-timeout", "300ms", ready=False) as daemon:
        wait_until(lambda: not daemon.is_alive, "it gives up", seconds=10)
        assert daemon.ended() == 1

    assert "conductor-loop resume -target oran-sim/amf" in (site.top / "daemon-1.log").read_text()
    assert site.counts() == {State.PUBLISHED: 1, State.WAITING: 1}


def test_once_that_is_stopped_says_how_many_it_leaves(site: Site) -> None:
    site.hand_over_all({f"intent-{n}.json": intent(f"cnf-{n}") for n in range(3)})
    porch = site.porch(HANGS)
    with site.daemon("-once", "-workers", "1", "-porch", porch, "-grace", "1ms", ready=False) as it:
        wait_until(lambda: bool(site.ledger()), "one runs")
        assert it.stop() == 0
    told = (site.top / "daemon-1.log").read_text()
    assert "3 kept in " in told
    assert "WARNING: stopped before the end, 3 intents are kept for the next start" in told


@pytest.mark.usefixtures("daemon")
def test_the_answer_to_a_change_is_json_when_asked(site: Site) -> None:
    paused = site.asked("pause")
    assert set(paused) == {"intent_ids", "daemon_pid", "refusals"}
    assert (paused["intent_ids"], paused["refusals"]) == ([], [])
    waiting(site, a=intent())
    cancelled = site.asked("cancel", "intent-a.json")
    assert cancelled["intent_ids"] == [site.intent_id("intent-a.json")]
    # What was cancelled may be run again, by its name or id; what is final stays so.
    assert len(site.asked("retry", "intent-a.json")["intent_ids"]) == 1
    (refusal,) = site.asked("cancel", cancelled["intent_ids"][0])["refusals"]
    assert set(refusal) == {"code", "message", "hint"}


def test_what_is_no_target_is_refused(site: Site) -> None:
    site.once()
    for command in ("pause", "resume", "cancel", "list"):
        assert "'amf' is no target" in refused(site, command, "-target", "amf", status=2)
    # Of an unset variable, what no intent can name, and a byte that is no UTF-8.
    for target in ("", "NS/Ta", "ns/a/b", "ns/t\udcff"):
        for command in ("pause", "resume", "list"):
            assert "is no target" in refused(site, command, "-target", target, status=2)
    assert done(site, "list", "-paused") == "nothing is paused\n"


def test_a_pause_of_what_no_intent_can_name_stops_no_start_and_can_be_lifted(site: Site) -> None:
    site.once()

    async def pause_as_earlier_versions_did() -> None:
        journal = open_journal(site.state, SystemClock())
        await journal.record([Record(None, Paused(WHO, "", "NS/Ta"))])
        await journal.close()

    asyncio.run(pause_as_earlier_versions_did())
    with site.daemon():
        assert "NS/Ta" in done(site, "list", "-paused")
        assert done(site, "resume", "-target", "NS/Ta") == "resumed: NS/Ta\n"
        assert done(site, "list", "-paused") == "nothing is paused\n"


def test_a_resume_tells_what_stays_paused_and_how_to_lift_it(site: Site) -> None:
    site.once()
    for is_served in (True, False):
        with site.daemon() if is_served else contextlib.nullcontext():
            done(site, "pause", "-target", "ns/b", "-why", "the disk")
            done(site, "pause")
            told = done(site, "resume", "-target", "ns/a").splitlines()[-1]
            assert told.startswith(f"paused by {WHO} since ")
            assert told.endswith(": conductor-loop resume")
            told = done(site, "resume").splitlines()[-1]
            assert told.startswith(f"ns/b is paused by {WHO} since ")
            assert told.endswith(" (the disk): conductor-loop resume -target ns/b")
            assert [one["target"] for one in site.asked("resume")["still_paused"]] == ["ns/b"]
            assert "is paused by" not in done(site, "resume", "-target", "ns/b")


def test_a_resume_of_what_was_not_paused_says_so_and_is_not_on_record(site: Site) -> None:
    site.once()
    for is_served in (True, False):
        with site.daemon() if is_served else contextlib.nullcontext():
            done(site, "pause", "-target", "ns/b")
            with site.journal() as reader:
                before = reader.last_seq()
            assert done(site, "resume").startswith("was not paused: everything\n")
            assert not site.asked("resume", "-target", "ns/typo")["was_paused"]
            with site.journal() as reader:
                assert reader.last_seq() == before
            assert site.asked("resume", "-target", "ns/b")["was_paused"]


def test_a_target_without_its_flag_is_told_how_to_be_given(site: Site) -> None:
    refused = site.command("pause", "ns/a")
    assert refused.returncode == 2
    assert "hint: name a target with the flag: -target ns/a" in refused.stderr


def test_a_reason_that_is_no_utf_8_is_kept_with_its_bytes_named(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", site.porch("exit 2"))
    done(site, "pause", "-why", "caf\udce9")
    assert [one["why"] for one in site.asked("list", "-paused")] == ["caf\\xe9"]
    done(site, "resume", "-why", "x\udcffy")
    done(site, "retry", "intent-a.json", "-why", "again\udcff")
    done(site, "cancel", "-all", "-why", "no\udcff")
    history = site.asked("why", "intent-a.json")["history"]
    assert (history[0]["retry_why"], history[1]["why"]) == ("again\\xff", "no\\xff")


def test_other_words_that_are_no_utf_8_are_no_defect(site: Site) -> None:
    site.once()
    anchor, key = ("audit", "verify", "-anchor", "1:\udcff"), ("--recipient", "\udcff")
    assert "is no anchor" in refused(site, *anchor, status=2)
    assert "is no recipient" in refused(site, "backup", "b.age", *key, status=2)
    states = {"version": "1.0", "saved_at": "2025-01-01T00:00:00Z", "states": {}}
    (site.top / "\udcff").write_text(json.dumps(states))
    done(site, "state", "import", "\udcff")


# A name that was handed over twice.


@pytest.fixture
def repeated(site: Site) -> Iterator[str]:
    """The id of a running intent whose file was handed over again; it fails at `go`."""
    porch = site.porch('until [ -e "$top/go" ]; do /bin/sleep 0.05; done; exit 2')
    with site.daemon("-porch", porch, "-grace", "1ms"):
        site.hand_over("intent-a.json", intent())
        first = site.intent_id("intent-a.json")
        site.wait_for_state("intent-a.json", State.RUNNING)
        site.hand_over("intent-a.json", intent())
        wait_until(lambda: site.counts()[State.DUPLICATE] == 1, "the duplicate is known")
        yield first


def duplicate_of(site: Site) -> str:
    with site.journal() as journal:
        (duplicate,) = journal.summaries(states={State.DUPLICATE})
    return duplicate.intent_id


def test_a_name_means_the_running_intent_and_not_its_duplicate_to_cancel(
    site: Site, repeated: str
) -> None:
    assert site.asked("cancel", "intent-a.json")["intent_ids"] == [repeated]


def test_a_name_means_the_failed_intent_and_not_its_duplicate_to_retry(
    site: Site, repeated: str
) -> None:
    (site.top / "go").touch()
    wait_until(lambda: site.counts()[State.FAILED] == 1, "it failed")
    (retried,) = site.asked("retry", "intent-a.json")["intent_ids"]
    assert site.asked("why", retried)["retry_of"] == repeated


def test_why_tells_of_a_name_its_intent_and_the_duplicates(site: Site, repeated: str) -> None:
    asked, duplicate = site.asked("why", "intent-a.json"), duplicate_of(site)
    assert (asked["intent_id"], asked["duplicates"]) == (repeated, [duplicate])
    told = done(site, "why", "intent-a.json")
    assert told.startswith(f"intent-a.json  {repeated}\n")
    assert f"duplicate  {duplicate}, handed over again" in told


def test_retrying_a_duplicate_names_the_intent_that_it_repeats(site: Site, repeated: str) -> None:
    complaint = refused(site, "retry", duplicate_of(site))
    assert f"conductor-loop retry {repeated}" in complaint


def test_a_name_that_has_duplicates_alone_means_the_newest(site: Site) -> None:
    original: dict[str, object] = {"sha256": hashlib.sha256(intent()).hexdigest()}
    original |= {"status": "processed"}
    original |= {
        "file_path": "/old/intent-a.json",
        "size": 1,
        "processed_at": "2025-01-01T00:00:00Z",
    }
    states = {
        "version": "1.0",
        "saved_at": "2025-01-01T00:00:00Z",
        "states": {"/old/intent-a.json": original},
    }
    site.hand_over_all({"../state.json": json.dumps(states).encode()})
    done(site, "state", "import", "state.json")
    for _ in range(2):
        site.hand_over("intent-a.json", intent())
        site.once()
    assert site.asked("why", "intent-a.json")["intent_id"] == site.intent_id("intent-a.json")


# Cancel.


@pytest.mark.usefixtures("daemon")
def test_a_cancelled_intent_that_waits_is_skipped_and_says_by_whom_and_why(site: Site) -> None:
    site.pause()
    waiting(site, a=intent())
    assert done(site, "cancel", "intent-a.json", "-why", "wrong cluster") == "cancelled: 1\n"
    verdict = site.verdict("intent-a.json")
    assert (verdict["status"], verdict["skip_reason"]) == ("skipped", "cancelled")
    assert verdict["cancelled_by"] == WHO
    assert "wrong cluster" in verdict["message"]
    assert site.names_in("processed") == ["intent-a.json"]
    assert site.ledger() == []


@pytest.mark.usefixtures("daemon")
def test_a_cancelled_intent_that_runs_is_ended(site: Site) -> None:
    site.hand_over("intent-a.json", intent())
    wait_until(lambda: bool(site.ledger()), "it runs")
    done(site, "cancel", "intent-a.json")
    verdict = site.verdict("intent-a.json")
    assert verdict["status"] == "skipped"
    assert [attempt["outcome"] for attempt in verdict["attempts"]] == ["stopped"]


@pytest.mark.usefixtures("daemon")
def test_the_next_one_of_its_target_runs_when_the_running_one_is_cancelled(site: Site) -> None:
    site.hand_over("intent-a.json", intent(replicas=1))
    wait_until(lambda: bool(site.ledger()), "it runs")
    waiting(site, b=intent(replicas=2))
    (site.top / "go").touch()
    done(site, "cancel", "intent-a.json")
    assert site.verdict("intent-b.json")["status"] == "success"


@pytest.mark.usefixtures("daemon")
def test_cancelling_a_target_leaves_others_alone(site: Site) -> None:
    site.pause()
    waiting(site, a=intent("amf", 1), b=intent("amf", 2), c=intent("upf"))
    shown = done(site, "cancel", "-target", "oran-sim/amf", "-dry-run")
    assert shown.endswith("2 would end; nothing was changed\n")
    assert site.counts() == {State.WAITING: 3}
    assert done(site, "cancel", "-target", "oran-sim/amf") == "cancelled: 2\n"
    assert site.counts() == {State.SKIPPED: 2, State.WAITING: 1}
    assert done(site, "cancel", "-all") == "cancelled: 1\n"


def test_cancelling_works_while_no_daemon_runs(site: Site) -> None:
    with site.daemon():
        site.pause()
        waiting(site, a=intent("amf"), b=intent("upf"))
    assert done(site, "cancel", "intent-a.json").startswith("cancelled: 1\n")
    done(site, "resume")
    assert site.once().returncode == 0
    assert site.verdict("intent-a.json")["status"] == "skipped"
    assert site.verdict("intent-b.json")["status"] == "success"


def test_what_is_final_cannot_be_cancelled(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once()
    assert "neither waits nor runs" in refused(site, "cancel", "intent-a.json")
    refused(site, "cancel", status=2)
    assert "no intent intent-none.json" in refused(site, "cancel", "intent-none.json", status=2)


def test_cancelling_says_which_files_it_could_not_reach(site: Site) -> None:
    site.once()
    site.hand_over_all({f"intent-w{n}.json": intent(replicas=n) for n in (1, 2)})
    for words in (("-all",), ("-target", "oran-sim/amf"), ("-all", "-dry-run")):
        finished = site.command("cancel", *words)
        assert finished.returncode == 0
        assert "holds from" not in finished.stdout
        assert "2 files in handoff were not picked up yet and are not canc" in finished.stderr
    assert site.asked("cancel", "-all")["not_picked_up"] == 2


def test_cancelling_says_so_beside_a_daemon_that_has_not_taken_a_file(site: Site) -> None:
    site.handoff.mkdir()
    with site.daemon("-debounce", "1h"):
        (site.handoff / "intent-a.json").write_bytes(intent())
        complaint = site.command("cancel", "-all").stderr
    assert "1 file in handoff was not picked up yet and is not cancelled" in complaint


def test_a_file_that_nobody_picked_up_is_told_so_by_name(site: Site) -> None:
    site.once()
    site.hand_over_all({"intent-a.json": intent()})
    cancel, retry = (refused(site, c, "intent-a.json", status=2) for c in ("cancel", "retry"))
    assert "intent-a.json waits in handoff; no daemon runs" in cancel
    assert "move it away" in cancel
    assert "intent-a.json waits in handoff; no daemon runs" in retry


# Retry.


@pytest.fixture
def failed(site: Site) -> str:
    """The id of an intent that failed; its porch succeeds once there is a file `mended`."""
    site.flags += ("-porch", site.porch(f'{RECORDS}; [ -e "$top/mended" ] || exit 2'))
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once().returncode == 8
    return site.intent_id("intent-a.json")


def test_a_retry_is_a_new_intent_that_names_the_old_one(site: Site, failed: str) -> None:
    (site.top / "mended").touch()
    with site.daemon():
        done(site, "retry", "intent-a.json", "-why", "mended")
        wait_until(lambda: len(site.names_in("status/history")) == 1, "the old one is history")
        verdict = site.verdict("intent-a.json")
    assert (verdict["status"], verdict["retry_of"]) == ("success", failed)
    assert verdict["intent_id"] != failed
    old = json.loads((site.handoff / f"status/history/{failed}.status").read_bytes())
    assert old["status"] == "failed"
    assert site.counts() == {State.FAILED: 1, State.PUBLISHED: 1}


def test_the_reason_of_a_retry_is_told_and_on_record(site: Site, failed: str) -> None:
    done(site, "retry", failed, "-why", "mended the cluster")
    (admitted,) = site.asked("why", "intent-a.json")["history"]
    assert admitted["retry_why"] == "mended the cluster"
    assert "\n    mended the cluster\n" in done(site, "why", "intent-a.json")
    site.once()
    shown = done(site, "audit", "show", "-json")
    assert '"why": "mended the cluster"' in shown or '"why":"mended the cluster"' in shown


def test_a_retry_works_while_no_daemon_runs(site: Site, failed: str) -> None:
    (site.top / "mended").touch()
    assert "no daemon runs here" in done(site, "retry", failed)
    assert site.once().returncode == 0
    assert site.verdict("intent-a.json")["retry_of"] == failed


def test_all_that_failed_is_retried_in_order_and_once(site: Site, failed: str) -> None:
    site.hand_over_all({"intent-b.json": intent("upf"), "intent-c.json": b"{}"})
    site.once()
    (site.top / "mended").touch()
    assert len(site.asked("retry", "-failed")["intent_ids"]) == 2
    assert done(site, "retry", "-failed") == "nothing failed that was not retried already\n"
    assert site.asked("retry", "-failed") == {
        "intent_ids": [], "daemon_pid": None, "refusals": [],
    }  # fmt: skip
    assert site.once("-workers", "1").returncode == 0
    assert site.ledger()[2:] == ["intent-a.json", "intent-b.json"]
    assert failed in done(site, "why", "intent-a.json")


def test_a_retry_of_thousands_is_answered_with_and_without_a_daemon(
    site: Site, failed: str
) -> None:
    thousands = [failed] * 6000
    with site.daemon():
        site.pause()
        first = site.command("retry", *thousands)
        asked = site.asked("retry", *thousands)
    offline = site.command("retry", *thousands)
    assert first.stdout.splitlines()[-1] == "1 done, 5999 refused"
    assert first.stderr.count(f"retrying {failed} would undo it") == 20
    assert "ERROR: 5979 more were refused" in first.stderr
    assert len(asked["refusals"]) == 6000
    assert (offline.returncode, offline.stdout) == (1, "0 done, 6000 refused\n")


def test_a_retry_that_a_newer_intent_overtook_needs_force(site: Site, failed: str) -> None:
    (site.top / "mended").touch()
    site.hand_over_all({"intent-b.json": intent(replicas=2)})
    assert site.once().returncode == 0
    assert f"is newer than {failed}" in refused(site, "retry", "intent-a.json")
    done(site, "retry", "intent-a.json", "-force")
    assert site.once().returncode == 0
    assert site.ledger() == ["intent-a.json", "intent-b.json", "intent-a.json"]


def test_what_succeeded_or_still_runs_is_not_retried(site: Site) -> None:
    with site.daemon("-porch", site.porch(HANGS), "-grace", "1ms"):
        site.hand_over("intent-a.json", intent())
        site.wait_for_state("intent-a.json", State.RUNNING)
        assert "is not finished (running)" in refused(site, "retry", "intent-a.json")
    assert site.once().returncode == 0
    assert "is done (published)" in refused(site, "retry", "intent-a.json")


def test_what_was_retried_needs_nobody_any_more_and_says_as_what_it_runs(
    site: Site, failed: str
) -> None:
    (site.top / "mended").touch()
    assert site.asked("why", failed)["retried_as"] is None
    (new,) = site.asked("retry", "-failed")["intent_ids"]
    assert done(site, "why", failed).endswith(f"\nretried as {new} (waiting)\n")
    site.once()

    assert done(site, "why", failed).endswith(f"\nretried as {new} (published)\n")
    assert site.asked("why", failed)["retried_as"] == new
    assert site.asked("list", "-failed") == []
    listed = {one["intent_id"]: one["retried_as"] for one in site.asked("list")}
    assert listed == {failed: new, new: None}


def test_a_retry_that_failed_is_what_needs_a_person(site: Site, failed: str) -> None:
    (new,) = site.asked("retry", failed)["intent_ids"]
    site.once()
    assert [one["intent_id"] for one in site.asked("list", "-failed")] == [new]
    assert [one["intent_id"] for one in site.asked("list", "-state", "failed")] == [new, failed]
    assert f"conductor-loop retry {new}" in done(site, "why", new)


# Asking.


def test_health_is_0_only_while_a_ready_daemon_runs(site: Site) -> None:
    with site.daemon() as daemon:
        assert done(site, "health").endswith("ready\n")
        asked = site.asked("health")
        assert (asked["live"], asked["ready"], asked["daemon_pid"]) == (True, True, daemon.pid)
        site.pause()
        assert site.command("health").returncode == 1
        assert {c["name"] for c in site.asked("health")["checks"] if not c["ok"]} == {"not-paused"}
        daemon.kill()
    told = refused(site, "health")
    assert f"no daemon runs on {site.state}" in told
    assert "-config FILE" in told
    asked = site.asked("health")
    assert asked["error"].pop("message") in told
    assert asked["error"].pop("hint") in told
    assert asked == {
        "live": False, "ready": False, "daemon_pid": None, "checks": [],
        "error": {"code": "no_daemon"},
    }  # fmt: skip


def test_health_of_a_daemon_that_stands_still_is_json_when_asked(
    site: Site, daemon: Daemon
) -> None:
    assert site.asked("health")["error"] is None
    daemon.send(signal.SIGSTOP)
    try:
        finished = site.command("health", "-json")
    finally:
        daemon.send(signal.SIGCONT)

    asked = json.loads(finished.stdout)
    assert (finished.returncode, asked["live"], asked["ready"]) == (1, False, False)
    assert asked["error"]["code"] == "daemon_silent"
    assert "gives no answer" in asked["error"]["message"]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A success after one retry, a failure, a rejection, a duplicate, and one that waits."""
    site = Site(tmp_path_factory.mktemp("past"))
    porch = site.porch(
        'case $name in *-bad.json) echo "no such cluster" >&2; exit 2 ;; esac\n'
        '[ -e "$top/again" ] || { : > "$top/again"; exit 75; }'
    )
    flags = ("-porch", porch, "-workers", "1")
    for name, body in {
        "intent-good.json": intent("amf", correlation_id="c-1"),
        "intent-bad.json": intent("upf"),
        "intent-rejected.json": b"{}",
    }.items():
        site.hand_over_all({name: body})
        site.once(*flags)
    site.hand_over_all({"intent-good.json": intent("amf", correlation_id="c-1")})
    site.once(*flags)
    with site.daemon(*flags):
        site.command("pause", "-why", "lunch")
        site.hand_over("intent-later.json", intent("smf"))
        site.wait_for_state("intent-later.json", State.WAITING)
    return site


def listed(site: Site, *words: str) -> list[tuple[str, str]]:
    return [(one["intent_file"], one["state"]) for one in site.asked("list", *words)]


def test_the_list_shows_where_everything_stands_newest_first(past: Site) -> None:
    assert listed(past) == [
        ("intent-later.json", "waiting"),
        ("intent-good.json", "duplicate"),
        ("intent-rejected.json", "rejected"),
        ("intent-bad.json", "failed"),
        ("intent-good.json", "published"),
    ]
    lines = done(past, "list").splitlines()
    assert lines[0].split() == ["RECEIVED", "STATE", "TARGET", "FILE", "ID"]
    assert lines[1].split()[1:4] == ["waiting", "oran-sim/smf", "intent-later.json"]
    assert lines[6].startswith("in all: 1 waiting, 1 published, 1 failed, 1 rejected, 1 duplicate")
    assert lines[7].startswith("paused: everything")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["-failed"], ["rejected", "bad"]),
        (["-open"], ["later"]),
        (["-state", "duplicate"], ["good"]),
        (["-target", "oran-sim/amf"], ["good", "good"]),
        (["-target", "oran-sim/amf", "-state", "published"], ["good"]),
        (["-state", "failed", "-failed"], ["bad"]),
        (["-limit", "2"], ["later", "good"]),
    ],
)
def test_the_list_can_be_filtered(past: Site, words: list[str], names: list[str]) -> None:
    assert [name for name, _ in listed(past, *words)] == [f"intent-{name}.json" for name in names]


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        (["-state", "waiting", "-failed"], "one of them"),
        (["-failed", "-open"], "one of them"),
        (["-ignored", "-target", "bogus"], "-target"),
        (["-ignored", "-state", "waiting", "-failed"], "-state, -failed"),
        (["-paused", "-open"], "-open"),
        (["-ignored", "-paused"], "-paused"),
    ],
)
def test_filters_that_cannot_go_together_are_refused(
    past: Site, words: list[str], left_out: str
) -> None:
    assert f"\nhint: leave out {left_out}\n" in refused(past, "list", *words, status=2)


def test_the_lists_of_files_left_alone_and_of_pauses_have_a_limit_too(site: Site) -> None:
    site.handoff.mkdir()
    for name in ("a.txt", "b.txt"):
        (site.handoff / name).touch()
    site.once()
    for target in ("amf", "upf"):
        done(site, "pause", "-target", f"oran-sim/{target}")
    for which in ("-ignored", "-paused"):
        assert len(site.asked("list", which)) == 2
        assert len(site.asked("list", which, "-limit", "1")) == 1


def test_a_handoff_that_is_not_there_is_what_list_ignored_tells_of(site: Site) -> None:
    told = refused(site, "list", "-ignored")
    assert "cannot open the handoff folder handoff: No such file or directory" in told
    assert "hint: check -handoff" in told


def test_an_empty_word_names_no_intent(past: Site) -> None:
    for word in ("", "handoff/"):
        assert f"{word!r} names no intent" in refused(past, "why", word, status=2)


def test_why_tells_the_whole_history_with_its_evidence(past: Site) -> None:
    with past.journal() as journal:
        (first,) = journal.summaries(states={State.PUBLISHED})
    history = past.asked("why", first.intent_id)["history"]
    assert [entry["event"] for entry in history] == [
        "Admitted", "Started", "RetryScheduled", "Started", "Published",
    ]  # fmt: skip
    told = done(past, "why", first.intent_id)
    for words in ("correlation c-1", "SHA-256", "porch_temporary (temporary, exit 75)", "#"):
        assert words in told


def test_why_tells_what_was_wrong_and_what_to_do(past: Site) -> None:
    told = done(past, "why", "intent-bad.json")
    assert "stderr | no such cluster" in told
    assert "to run it again: conductor-loop retry" in told
    told = done(past, "why", "handoff/failed/intent-rejected.json")
    assert "correct the file and hand it over again" in told
    assert "/replicas" in told or "replicas" in told


def test_why_of_an_unknown_name_says_where_to_look(past: Site) -> None:
    assert "list --ignored" in refused(past, "why", "intent-none.json", status=2)


def test_asking_where_nothing_was_ever_handed_over_is_told_so(site: Site) -> None:
    for words in (["list"], ["why", "intent-a.json"]):
        assert "no journal at" in refused(site, *words)
    assert not site.handoff.exists()


@pytest.mark.parametrize(
    "words",
    [["pause"], ["resume"], ["cancel", "-target", "oran-sim/amf"], ["keys", "rotate"]],
    ids=lambda words: words[0],
)
def test_in_the_wrong_folder_nothing_is_steered_and_nothing_made(
    site: Site, words: list[str]
) -> None:
    assert f"no journal at {site.state}/journal.db" in refused(site, *words)
    assert not site.handoff.exists()


# Submit, and the way back to the original.


def test_submit_follows_to_the_verdict_of_the_daemon(site: Site) -> None:
    with site.daemon("-porch", site.porch("case $name in *-bad.json) exit 2 ;; esac")):
        (site.top / "intent-good.json").write_bytes(intent("amf"))
        (site.top / "intent-bad.json").write_bytes(intent("upf"))
        good = site.command("submit", "--wait", "intent-good.json", "--json")
        bad = site.command("submit", "--wait", "intent-bad.json", "--json")
    assert (good.returncode, bad.returncode) == (0, 8)
    assert json.loads(good.stdout)[0]["status"] == "success"
    assert json.loads(bad.stdout)[0]["status"] == "failed"


def test_submit_never_replaces_what_waits_in_the_folder(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent(replicas=1)})
    (site.top / "intent-a.json").write_bytes(intent(replicas=2))
    assert "is in the handoff folder already" in refused(site, "submit", "intent-a.json")
    assert (site.handoff / "intent-a.json").read_bytes() == intent(replicas=1)


def exported(site: Site) -> dict[str, Any]:
    return dict(json.loads(done(site, "state", "export")))


def test_what_is_exported_has_the_original_form(past: Site) -> None:
    state = exported(past)
    assert state["version"] == "1.0"
    assert {Path(path).name: one["status"] for path, one in state["states"].items()} == {
        "intent-good.json": "processed",
        "intent-bad.json": "failed",
        "intent-rejected.json": "failed",
    }
    for path, one in state["states"].items():
        assert path == one["file_path"] == f"{past.handoff}/{Path(path).name}"
        assert set(one) == {"file_path", "sha256", "size", "processed_at", "status"}


def test_what_was_exported_is_not_run_again_where_it_is_imported(past: Site, site: Site) -> None:
    (site.top / "state.json").write_text(json.dumps(exported(past)))
    site.handoff.mkdir()
    assert site.asked("state", "import", "state.json", "-dry-run")["dry_run"] is True
    asked = site.asked("state", "import", "state.json")
    assert (asked["processed"], asked["failed"]) == (["intent-good.json"], 2)
    site.hand_over_all(
        {"intent-good.json": intent("amf", correlation_id="c-1"), "intent-bad.json": intent("upf")}
    )
    assert site.once().returncode == 0
    assert site.counts() == {State.DUPLICATE: 1, State.PUBLISHED: 1}


def test_an_export_keeps_what_only_the_originals_own_file_knows(past: Site, site: Site) -> None:
    before = json.dumps(exported(past))
    site.handoff.mkdir()
    (site.handoff / ".conductor-state.json").write_text(before)
    site.hand_over("intent-bad.json", intent("upf"))
    assert site.once().returncode == 0
    done(site, "state", "export", "handoff/.conductor-state.json")
    after = json.loads((site.handoff / ".conductor-state.json").read_text())["states"]
    assert {Path(path).name: (Path(path).parent, one["status"]) for path, one in after.items()} == {
        "intent-good.json": (past.handoff, "processed"),
        "intent-rejected.json": (past.handoff, "failed"),
        "intent-bad.json": (site.handoff, "processed"),
    }


def test_an_export_has_no_dry_run_that_writes(past: Site) -> None:
    assert "no dry run" in refused(past, "state", "export", "state.json", "-dry-run", status=2)
    assert not (past.top / "state.json").exists()


def test_a_rebuild_takes_no_words(past: Site) -> None:
    assert "takes no file" in refused(past, "state", "rebuild", "foo", "-dry-run", status=2)


@pytest.mark.parametrize(
    "words", [("rebuild", "-dry-run"), ("rebuild",), ("discard", "X"), ("discard", "X", "-dry-run")]
)
def test_where_no_daemon_ever_ran_nothing_is_rescued_and_nothing_made(
    site: Site, words: tuple[str, ...]
) -> None:
    assert "-handoff" in refused(site, "state", *words)
    site.handoff.mkdir()
    assert "-handoff" in refused(site, "state", *words)
    assert list(site.top.rglob("*")) == [site.handoff]


def test_a_state_cannot_be_imported_under_a_running_daemon(past: Site, site: Site) -> None:
    (site.top / "state.json").write_text(json.dumps(exported(past)))
    with site.daemon():
        assert "another daemon serves" in refused(site, "state", "import", "state.json")
