"""How a daemon ends, asked or not: nothing is lost, nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.system.daemon import PATIENCE, Site, intent, wait_until

# Runs until `$top/go` exists; tells its ledger when it starts and when it is done.
WAITS_FOR_GO = """
echo "start $name" >> "$top/ledger"
until [ -e "$top/go" ]; do /bin/sleep 0.02; done
echo "end $name" >> "$top/ledger"
"""
HANGS = 'echo "start $name $$" >> "$top/ledger"; exec /bin/sleep 1000'
TWO = {"intent-a.json": intent("amf"), "intent-b.json": intent("amf", 2)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def heeds(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def wait_for_runs(site: Site, count: int) -> None:
    wait_until(lambda: len(site.ledger()) >= count, f"{count} have run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_finishes_what_runs_and_leaves_the_rest(
    site: Site, number: signal.Signals
) -> None:
    porch = site.porch(WAITS_FOR_GO)
    site.hand_over_all(TWO)
    with site.daemon("-porch", porch) as daemon:
        wait_until(lambda: site.ledger() == ["start intent-a.json"], "the first one runs")
        site.wait_for_state("intent-b.json", State.WAITING)
        daemon.send(number)
        wait_until(lambda: daemon.has_said(f"stopping on {number.name}"), "it is stopping")
        (site.top / "go").touch()
        assert daemon.ended() == 0
    assert site.ledger() == ["start intent-a.json", "end intent-a.json"]
    assert site.verdict("intent-a.json")["status"] == "success"
    assert site.names_in("processed") == ["intent-a.json"]
    assert site.counts() == Counter({State.PUBLISHED: 1, State.WAITING: 1})


def test_what_is_merely_lined_up_for_a_worker_is_left_too(site: Site) -> None:
    # The first is short, so that several are lined up; the second is what runs at the signal.
    porch = site.porch(f"case $name in *-0.json) exit 0 ;; esac\n{WAITS_FOR_GO}")
    site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(4)})
    with site.daemon("-porch", porch, "-workers", "1") as daemon:
        wait_until(lambda: site.ledger() == ["start intent-1.json"], "the second one runs")
        daemon.send(signal.SIGTERM)
        wait_until(lambda: daemon.has_said("stopping on SIGTERM"), "it is stopping")
        (site.top / "go").touch()
        assert daemon.ended() == 0
    assert site.ledger() == ["start intent-1.json", "end intent-1.json"]
    assert site.counts() == Counter({State.PUBLISHED: 2, State.WAITING: 2})


def test_the_next_start_does_the_rest(site: Site) -> None:
    porch = site.porch(WAITS_FOR_GO)
    site.hand_over_all(TWO)
    with site.daemon("-porch", porch, "-grace", "10ms") as daemon:
        wait_until(lambda: bool(site.ledger()), "the first one runs")
        site.wait_for_state("intent-b.json", State.WAITING)
        assert daemon.stop() == 0
    (site.top / "go").touch()
    assert site.once("-porch", porch).returncode == 0
    assert [line for line in site.ledger() if line.startswith("end")] == [
        "end intent-a.json",
        "end intent-b.json",
    ]


def test_what_outlasts_the_grace_is_ended_and_not_counted(site: Site) -> None:
    porch = site.porch(HANGS)
    site.hand_over_all({"intent-a.json": intent()})
    with site.daemon("-porch", porch, "-grace", "50ms") as daemon:
        wait_until(lambda: bool(site.ledger()), "it runs")
        assert daemon.stop() == 0
        assert daemon.has_said("ending what still runs after 0.05 s of grace")
    pid = int(site.ledger()[0].split()[2])
    assert not is_running(pid)
    with site.journal() as journal:
        (summary,) = journal.summaries()
    assert (summary.state, summary.failures, summary.crashes) == (State.WAITING, 0, 0)
    assert site.names_in("failed") == site.names_in("processed") == []


def test_a_second_signal_ends_at_once_and_loses_nothing(site: Site) -> None:
    porch = site.porch(HANGS)
    site.hand_over_all(TWO)
    with site.daemon("-porch", porch, "-grace", "1h") as daemon:
        wait_until(lambda: bool(site.ledger()), "the first one runs")
        daemon.send(signal.SIGTERM)
        wait_until(lambda: daemon.has_said("stopping on SIGTERM"), "it is stopping")
        assert daemon.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    pid = int(site.ledger()[0].split()[2])
    assert site.once().returncode == 0
    assert not is_running(pid)
    assert site.names_in("processed") == ["intent-a.json", "intent-b.json"]


def test_a_signal_during_once_leaves_the_rest_and_is_no_failure(site: Site) -> None:
    porch = site.porch(WAITS_FOR_GO)
    site.hand_over_all(TWO)
    with site.daemon("-once", "-porch", porch, ready=False) as daemon:
        wait_until(lambda: bool(site.ledger()), "the first one runs")
        daemon.send(signal.SIGTERM)
        wait_until(lambda: daemon.has_said("stopping"), "it is stopping")
        (site.top / "go").touch()
        assert daemon.ended() == 0
    assert site.counts() == Counter({State.PUBLISHED: 1, State.WAITING: 1})


SIGNALLED = """
import os, sys
at, number, came = sys.argv.pop(1), int(sys.argv.pop(1)), []
def look(event, args):
    if event == "import" and args[0] == at and not came:
        came.append(at)
        os.kill(os.getpid(), number)
sys.addaudithook(look)
from conductor_loop.cli.main import main
sys.exit(main())
"""
"""The command, to which a signal comes at the import of a module."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "at",
    [
        "conductor_loop.cli.commands",
        "conductor_loop.settings.loading",
        "conductor_loop.wiring.daemon",
        "conductor_loop.adapters.builtin.publisher",
    ],
)
def test_a_signal_at_the_very_start_ends_it_in_order_with_nothing_claimed(
    site: Site, number: signal.Signals, at: str
) -> None:
    site.hand_over_all(TWO)
    words = [sys.executable, "-c", SIGNALLED, at, str(int(number)), *site.flags]
    done = subprocess.run(
        words, cwd=site.top, env=site.environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    left = [name for name in os.listdir(site.handoff) if name.startswith("intent-")]
    assert sorted(left) == sorted(TWO)
    assert site.counts() == Counter()


def test_killed_in_the_middle_of_300_it_ends_each_exactly_once(site: Site) -> None:
    targets = 30
    names = [f"intent-{n:03}.json" for n in range(300)]
    porch = site.porch('echo "$name" >> "$top/ledger"')
    site.hand_over_all({name: intent(f"t{n % targets}", n % 7) for n, name in enumerate(names)})
    for done in (40, 150):
        with site.daemon("-porch", porch, "-workers", "4") as daemon:
            wait_for_runs(site, done)
            daemon.kill()
    assert site.once("-porch", porch, "-workers", "4").returncode == 0
    assert site.counts() == Counter({State.PUBLISHED: 300})
    assert site.names_in("processed") == names
    assert site.names_in("failed") == site.names_in("status/history") == []
    assert site.names_in("status") == ["history", *(f"{name}.status" for name in names)]
    assert site.names_in(".conductor/claimed") == []
    # At least once; again only what ran at a kill, or had ended but not durably so.
    runs = Counter(site.ledger())
    assert set(runs) == set(names)
    assert max(runs.values()) <= 3
    assert runs.total() < 450


def test_the_rest_of_a_killed_daemon_keeps_the_order_of_its_target(site: Site) -> None:
    names = [f"intent-{n:02}.json" for n in range(40)]
    porch = site.porch('echo "$name" >> "$top/ledger"')
    site.hand_over_all({name: intent("amf", n) for n, name in enumerate(names)})
    with site.daemon("-porch", porch) as daemon:
        wait_for_runs(site, 10)
        daemon.kill()
    assert site.once("-porch", porch).returncode == 0
    runs = site.ledger()
    assert list(dict.fromkeys(runs)) == names
    assert runs == sorted(runs)


def test_porch_does_not_outlive_a_killed_daemon(site: Site) -> None:
    porch = site.porch(HANGS)
    site.hand_over_all({"intent-a.json": intent()})
    with site.daemon("-porch", porch, "-grace", "50ms") as daemon:
        wait_until(lambda: bool(site.ledger()), "it runs")
        daemon.kill()
        pid = int(site.ledger()[0].split()[2])
        wait_until(lambda: not is_running(pid), "porch is gone")


def test_a_hang_up_while_it_starts_has_the_settings_read_again(site: Site) -> None:
    with site.daemon(ready=False) as daemon:
        wait_until(lambda: heeds(daemon.pid, signal.SIGTERM), "it notes signals")
        daemon.send(signal.SIGHUP)
        wait_until(lambda: daemon.has_said("settings read again"), "it has read them again")
