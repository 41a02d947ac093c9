"""Rates on intake, by the real command: who waits, where, and that nobody else does."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from conductor_loop.core.rates import Rate
from conductor_loop.core.states import State
from tests.fakes import in_a_loop
from tests.fakes_source import A_WHILE, BRISK, Served, names, serving, take, take_all
from tests.system.daemon import Daemon, Site, intent, wait_until

HOURLY = ("-intake-burst", "3")
"""With a rate of one an hour: so many come at once, and no more while a test runs."""
SLOW = Rate(1, 3600)
FOREIGNER = 54_321


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def many(count: int, prefix: str = "x", namespace: str = "oran-sim") -> dict[str, bytes]:
    """Intents for as many targets."""
    return {
        f"intent-{prefix}-{n:03}.json": intent(f"{prefix}{n}", namespace=namespace)
        for n in range(count)
    }


def waiting_names(site: Site) -> list[str]:
    """What still stands in the handoff folder."""
    return sorted(name for name in os.listdir(site.handoff) if name.startswith("intent-"))


def rates_check(site: Site) -> str:
    """What `health` says of rates."""
    (told,) = [check for check in site.asked("health")["checks"] if check["name"] == "rates"]
    assert told["ok"]
    return str(told["message"])


def told(daemon: Daemon, words: str) -> int:
    """How often a message with these words was logged."""
    return sum(words in message for message in daemon.messages())


def test_over_the_intake_rate_files_wait_in_the_folder_and_none_fails(site: Site) -> None:
    with site.daemon("-intake-rate", "1/h", *HOURLY) as daemon:
        site.hand_over_all(many(10))
        site.wait_for_final(3)
        wait_until(lambda: rates_check(site) == "files wait for -intake-rate", "health tells")
        assert site.counts() == Counter({State.PUBLISHED: 3})
        assert len(waiting_names(site)) == 7
        assert site.is_healthy()
        assert "files wait for -intake-rate" in site.command("doctor", "-porch", "builtin").stdout
        assert told(daemon, "-intake-rate allows") == 1
    with site.daemon():
        site.wait_for_final(10)
    assert site.counts() == Counter({State.PUBLISHED: 10})


def test_once_takes_its_time_and_leaves_nothing(site: Site) -> None:
    site.hand_over_all(many(10))
    assert site.once("-intake-rate", "50/s", "-intake-burst", "1").returncode == 0
    assert site.counts() == Counter({State.PUBLISHED: 10})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand over in another's name")
def test_a_flood_of_one_owner_waits_and_others_go_on(site: Site) -> None:
    site.hand_over_all(many(50, "flood"))
    for name in waiting_names(site):
        os.chown(site.handoff / name, FOREIGNER, FOREIGNER)
    with site.daemon("-owner-rate", "1/h", *HOURLY) as daemon:
        wait_until(lambda: told(daemon, f"uid:{FOREIGNER} than -owner-rate") == 1, "it is told")
        site.hand_over_all(many(3, "quiet"))
        site.verdicts("intent-quiet-000.json", "intent-quiet-001.json", "intent-quiet-002.json")
        site.wait_for_final(6)
        assert waiting_names(site) == [f"intent-flood-{n:03}.json" for n in range(3, 50)]
        assert rates_check(site) == f"47 files of uid:{FOREIGNER} wait for -owner-rate"
        assert told(daemon, "-owner-rate") == 1
    assert site.once().returncode == 0
    assert site.counts() == Counter({State.PUBLISHED: 53})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand over in another's name")
@pytest.mark.parametrize("flags", [(), ("-period", "50ms")])
def test_nobody_is_held_up_by_a_flood_that_used_the_name_before(
    site: Site, flags: tuple[str, ...]
) -> None:
    site.hand_over_all(many(20, "flood"))
    for name in waiting_names(site):
        os.chown(site.handoff / name, FOREIGNER, FOREIGNER)
    with site.daemon("-owner-rate", "1/h", *HOURLY, *flags) as daemon:
        wait_until(lambda: told(daemon, "-owner-rate") == 1, "the flood is held")
        os.unlink(site.handoff / "intent-flood-019.json")
        site.hand_over("intent-flood-019.json", intent("victim"))
        assert site.verdict("intent-flood-019.json")["target"] == "oran-sim/victim"


def test_a_flood_in_one_namespace_waits_and_others_go_on(site: Site) -> None:
    with site.daemon("-namespace-rate", "1/h", *HOURLY) as daemon:
        site.hand_over_all(many(20, "flood", namespace="loud"))
        site.hand_over_all(many(3, "quiet", namespace="calm"))
        site.verdicts("intent-quiet-000.json", "intent-quiet-001.json", "intent-quiet-002.json")
        wait_until(
            lambda: rates_check(site) == "17 intents of loud wait for -namespace-rate",
            "health tells",
        )
        assert site.counts() == Counter({State.PUBLISHED: 6, State.WAITING: 17})
        assert told(daemon, "namespace loud is over its rate") == 1
    assert site.once().returncode == 0
    assert site.counts() == Counter({State.PUBLISHED: 23})


def test_a_namespace_over_its_rate_keeps_the_order_of_each_target(site: Site) -> None:
    bodies = {f"intent-{n:02}.json": intent(f"t{n % 3}", replicas=n) for n in range(30)}
    site.hand_over_all(bodies)
    porch = site.porch("echo $name >>$top/ledger")
    flags = ("-porch", porch, "-namespace-rate", "100/s", "-intake-burst", "1", "-workers", "4")
    assert site.once(*flags).returncode == 0
    for target in range(3):
        assert [n for n in site.ledger() if int(n[7:9]) % 3 == target] == [
            n for n in bodies if int(n[7:9]) % 3 == target
        ]


# The folder source alone, where a test turns the clock.


def flood(served: Served, count: int) -> list[bytes]:
    """Hand over so many; their names, in order."""
    handed = [b"intent-%03d.json" % number for number in range(count)]
    for name in handed:
        served.hand_over(name)
    return handed


@in_a_loop
async def test_tokens_come_back_with_time_and_files_come_in_order(tmp_path: Path) -> None:
    settings = replace(BRISK, intake_rate=Rate(1, 60), burst=2)
    with serving(tmp_path / "handoff", settings) as served:
        handed = flood(served, 6)
        assert names(await take_all(served.source, 2)) == handed[:2]
        served.clock.pass_time(timedelta(seconds=61))
        assert names(await take(served.source)) == handed[2:3]
        served.clock.pass_time(timedelta(hours=1))
        assert names(await take_all(served.source, 2)) == handed[3:5]
        assert (served.handoff / "intent-005.json").exists()


@in_a_loop
async def test_files_of_one_owner_come_in_order_whatever_scans_and_events_say(
    tmp_path: Path,
) -> None:
    settings = replace(BRISK, owner_rate=Rate(1, 60), burst=1)
    with serving(tmp_path / "handoff", settings) as served:
        handed = flood(served, 4)
        came = names(await take(served.source))
        for number in range(4, 12):
            served.clock.pass_time(timedelta(seconds=61))
            handed.append(b"intent-%03d.json" % number)
            served.hand_over(handed[-1])
            came += names(await take(served.source))
        assert came == handed[: len(came)]
        assert len(came) == 9
        assert len(served.source.state().over_rate) == 1


@in_a_loop
async def test_a_file_that_is_deleted_while_it_queues_uses_up_no_token(tmp_path: Path) -> None:
    settings = replace(BRISK, owner_rate=SLOW, burst=1)
    with serving(tmp_path / "handoff", settings) as served:
        handed = flood(served, 3)
        assert names(await take(served.source)) == handed[:1]
        (served.handoff / "intent-001.json").unlink()
        served.clock.pass_time(timedelta(hours=1))
        assert names(await take(served.source)) == handed[2:]


@pytest.mark.parametrize("limit", ["intake_rate", "owner_rate"])
@in_a_loop
async def test_whoever_waits_for_a_rate_sleeps(tmp_path: Path, limit: str) -> None:
    settings = replace(BRISK, period=A_WHILE, burst=1, **{limit: SLOW})  # type: ignore[arg-type]
    with serving(tmp_path / "handoff", settings) as served:
        flood(served, 50)
        await take(served.source)
        # What came just now is looked at again once it has been quiet; then nothing is due.
        wait_until(lambda: _sleeps_after_a_look(served), "nothing is due for a long while")


def _sleeps_after_a_look(served: Served) -> bool:
    served.source._claim(64)
    return served.source._pause() > A_WHILE.total_seconds() / 2
