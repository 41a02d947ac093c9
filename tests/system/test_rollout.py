"""What a rolling update does to work in flight, with the real process."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.system.daemon import Site, intent, wait_until

WAITS_FOR_GO = """
echo "start $name" >> "$top/ledger"
until [ -e "$top/go" ]; do /bin/sleep 0.02; done
echo "end $name" >> "$top/ledger"
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_rollout_ends_what_runs_within_the_grace_and_the_next_pod_does_the_rest(
    site: Site,
) -> None:
    porch = site.porch(WAITS_FOR_GO)
    names = [f"intent-{n}.json" for n in range(6)]
    site.hand_over_all({name: intent("amf", n) for n, name in enumerate(names)})
    with site.daemon("-porch", porch, "-grace", "10s") as old:
        wait_until(lambda: site.ledger() == ["start intent-0.json"], "the first one runs")
        old.send(signal.SIGTERM)
        wait_until(lambda: old.has_said("stopping on SIGTERM"), "it is stopping")
        # Handed over while no pod takes anything.
        site.hand_over("intent-6.json", intent("amf", 6))
        (site.top / "go").touch()
        assert old.ended() == 0
    with site.daemon("-porch", porch):
        site.wait_for_final(7)
    runs = [line.split()[1] for line in site.ledger() if line.startswith("start")]
    assert runs == [*names, "intent-6.json"]
    assert site.counts() == Counter({State.PUBLISHED: 7})


def test_what_does_not_end_in_time_is_run_again_and_counted_as_no_failure(site: Site) -> None:
    porch = site.porch(WAITS_FOR_GO)
    site.hand_over_all({"intent-a.json": intent()})
    with site.daemon("-porch", porch, "-grace", "50ms") as old:
        wait_until(lambda: bool(site.ledger()), "it runs")
        assert old.stop() == 0
    (site.top / "go").touch()
    with site.daemon("-porch", porch):
        verdict = site.verdict("intent-a.json")
    assert verdict["status"] == "success"
    assert site.ledger() == ["start intent-a.json", "start intent-a.json", "end intent-a.json"]


def test_a_pod_that_comes_too_soon_is_refused_and_its_restart_goes_on(site: Site) -> None:
    porch = site.porch(WAITS_FOR_GO)
    site.hand_over_all({"intent-a.json": intent("a"), "intent-b.json": intent("a", 2)})
    with site.daemon("-porch", porch) as old:
        wait_until(lambda: bool(site.ledger()), "it runs")
        early = site.command(*site.flags, "-porch", porch)
        assert early.returncode == 1
        assert str(old.pid) in early.stderr
        old.kill()
    (site.top / "go").touch()
    with site.daemon("-porch", porch):
        site.wait_for_final(2)
    assert site.counts() == Counter({State.PUBLISHED: 2})
    assert site.names_in("processed") == ["intent-a.json", "intent-b.json"]
    assert site.names_in(".conductor/claimed") == []


def test_files_that_keep_coming_through_a_rollout_are_all_final_once_and_in_order(
    site: Site,
) -> None:
    porch = site.porch('echo "$name" >> "$top/ledger"; /bin/sleep 0.05')
    names = {n: f"intent-{n:02}-{'abcd'[n % 4]}.json" for n in range(40)}
    site.handoff.mkdir()

    def hand_over(numbers: range) -> None:
        for n in numbers:
            site.hand_over(names[n], intent("abcd"[n % 4], n))

    with site.daemon("-porch", porch) as old:
        hand_over(range(20))
        wait_until(lambda: len(site.ledger()) >= 5, "it is at work")
        old.send(signal.SIGTERM)
        hand_over(range(20, 30))
        assert old.ended() == 0
        assert len(site.ledger()) < 30
    with site.daemon("-porch", porch, ready=False):
        hand_over(range(30, 40))
        site.wait_for_final(40)
    assert site.counts() == Counter({State.PUBLISHED: 40})
    assert site.names_in("status") == sorted(
        [*(f"{each}.status" for each in names.values()), "history"]
    )
    for target in "abcd":
        ran = [name for name in site.ledger() if name.endswith(f"-{target}.json")]
        assert ran == [name for name in names.values() if name.endswith(f"-{target}.json")]
