"""Order: one intent of a target at a time, the earlier one first, whatever happens to it."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.system.daemon import Site, intent, wait_until

# `intent-0012-t3-s015-f2.json` runs for 0.015 s and fails twice, each time in another way.
FAILS_AS_NAMED = """
target=${name#*-t} target=${target%%-*} pause=${name#*-s} pause=${pause%%-*}
failures=${name#*-f} failures=${failures%.json}
echo "start $target $name" >> "$top/ledger"
/bin/sleep "0.$pause"
printf x >> "$top/tries-$name"
read -r tries < "$top/tries-$name"
if [ ${#tries} -le "$failures" ]; then
  echo "fail $target $name" >> "$top/ledger"
  case $pause in *[02468]) exit 75 ;; *[13579]) kill -9 $$ ;; esac
fi
/bin/cat "$2" > "$out/package-$target"
echo "end $target $name" >> "$top/ledger"
"""
RECORDS = 'echo "$name" >> "$top/ledger"'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def random_files(count: int, targets: int) -> dict[str, bytes]:
    """Intents whose names say how long they run and how often they fail."""
    dice = random.Random(20240815)
    files = {}
    for number in range(count):
        target = dice.randrange(targets)
        failures = dice.choices([0, 1, 2], [8, 1, 1])[0]
        name = f"intent-{number:04}-t{target}-s{dice.randrange(30):03}-f{failures}.json"
        files[name] = intent(f"t{target}", number % 100, description=name)
    return files


def by_target(names: list[str]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for name in names:
        found[name.split("-")[2].removeprefix("t")].append(name)
    return found


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """200 intents for 5 targets, handed over to a running daemon with 8 workers."""
    site = Site(tmp_path_factory.mktemp("crowd"))
    porch = site.porch(FAILS_AS_NAMED)
    with site.daemon("-porch", porch, "-workers", "8", "-max-attempts", "5"):
        site.hand_over_all(random_files(200, 5))
        site.wait_for_final(200)
    return site


def test_all_of_a_crowd_succeed_in_the_end(crowd: Site) -> None:
    assert crowd.counts() == {State.PUBLISHED: 200}


def test_the_last_package_of_each_target_is_its_last_intents(crowd: Site) -> None:
    files = random_files(200, 5)
    for target, names in by_target(list(files)).items():
        assert (crowd.out / f"package-{target}").read_bytes() == files[names[-1]]


def test_the_intents_of_a_target_succeed_in_the_order_of_their_handover(crowd: Site) -> None:
    done = [line.split()[2] for line in crowd.ledger() if line.startswith("end ")]
    assert by_target(done) == by_target(list(random_files(200, 5)))


def test_never_are_two_intents_of_a_target_run_at_once(crowd: Site) -> None:
    running: dict[str, str | None] = {}
    for line in crowd.ledger():
        what, target, name = line.split()
        assert running.get(target) == (None if what == "start" else name), line
        running[target] = name if what == "start" else None


def test_different_targets_did_run_at_once(crowd: Site) -> None:
    running: set[str] = set()
    most = 0
    for line in crowd.ledger():
        what, target, _ = line.split()
        running ^= {target}
        assert (target in running) is (what == "start")
        most = max(most, len(running))
    assert most > 1


def test_failures_were_retried_and_nothing_was_filed_as_failed(crowd: Site) -> None:
    assert any(line.startswith("fail ") for line in crowd.ledger())
    assert crowd.names_in("failed") == []


def test_scaling_to_3_to_5_and_back_to_3_runs_three_times_and_ends_at_3(site: Site) -> None:
    porch = site.porch('echo "$name" >> "$top/ledger"; /bin/cat "$2" > "$out/package"')
    with site.daemon("-porch", porch):
        for replicas in (3, 5, 3):
            site.hand_over("intent-a.json", intent(replicas=replicas))
            wait_until(lambda: not (site.handoff / "intent-a.json").exists(), "it is picked up")
        site.wait_for_final(3)
    assert len(site.ledger()) == 3
    assert (site.out / "package").read_bytes() == intent(replicas=3)
    assert site.counts() == {State.PUBLISHED: 3}


def test_a_backlog_runs_in_the_order_of_its_change_times_and_not_of_its_names(site: Site) -> None:
    porch = site.porch(RECORDS)
    names = [f"intent-{letter}.json" for letter in "zmaqb"]
    site.hand_over_all({name: intent("amf", n) for n, name in enumerate(names)})
    assert site.once("-porch", porch).returncode == 0
    assert site.ledger() == names


def test_a_retry_keeps_later_intents_of_its_target_waiting_and_no_others(site: Site) -> None:
    porch = site.porch(
        'echo "$name" >> "$top/ledger"\n'
        'case $name in *-1.json) [ -e "$top/once" ] || { : > "$top/once"; exit 75; } ;; esac'
    )
    site.hand_over_all(
        {
            "intent-1.json": intent("amf", 1),
            "intent-2.json": intent("amf", 2),
            "intent-3.json": intent("upf", 3),
        }
    )
    assert site.once("-porch", porch, "-workers", "1", "-retry-backoff", "200ms").returncode == 0
    assert site.ledger() == ["intent-1.json", "intent-3.json", "intent-1.json", "intent-2.json"]


def run_together(site: Site, files: dict[str, bytes]) -> list[str]:
    """Hand over while everything is paused, then let one worker choose."""
    porch = site.porch(RECORDS)
    with site.daemon("-porch", porch, "-workers", "1"):
        site.pause()
        for name, body in files.items():
            site.hand_over(name, body)
        wait_until(lambda: site.counts()[State.WAITING] == len(files), "all wait")
        site.resume()
        site.wait_for_final(len(files))
    return [name.removeprefix("intent-").removesuffix(".json") for name in site.ledger()]


def test_priority_decides_between_targets(site: Site) -> None:
    priorities = {"a": 5, "b": "low", "c": "critical", "d": 8, "e": 0}
    files = {
        f"intent-{name}.json": intent(name, priority=priority)
        for name, priority in priorities.items()
    }
    assert run_together(site, files) == ["c", "d", "a", "b", "e"]


def test_priority_never_overtakes_within_a_target_but_pulls_it_forward(site: Site) -> None:
    files = {
        "intent-other.json": intent("upf", priority=5),
        "intent-first.json": intent("amf", 1, priority=0),
        "intent-urgent.json": intent("amf", 2, priority=10),
    }
    ran = run_together(site, files)
    assert ran[0] == "first"
    assert ran.index("first") < ran.index("urgent")
