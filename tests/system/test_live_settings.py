"""Settings that change under the real daemon: each takes effect, and verdicts name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from conductor_loop.adapters.control_socket import ask
from conductor_loop.core.control import Look
from conductor_loop.core.states import State
from conductor_loop.core.vitals import Vitals, decode_vitals
from conductor_loop.settings.model import OPTIONS
from conductor_loop.settings.reloading import LIVE
from tests.system.daemon import Daemon, Site, intent, wait_until


class Running:
    """A daemon whose settings are in a file."""

    def __init__(self, site: Site, daemon: Daemon, path: Path) -> None:
        self.site = site
        self.daemon = daemon
        self._path = path

    def change(self, text: str) -> None:
        """Write the file anew, and have it read; everything in it must take effect."""
        self._path.write_text(text)
        told = self.site.asked("config", "reload")
        assert told["changed"], told
        assert told["needs_restart"] == []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    one = Site(tmp_path)
    # Flags win over the file, so that what a test changes is in the file alone.
    one.flags = ()
    one.environment["CONDUCTOR_PORCH"] = "builtin"
    return one


def vitals(site: Site) -> Vitals:
    """What the daemon says of itself."""
    reply = ask(site.state, Look())
    assert reply is not None
    return decode_vitals(bytes(reply.vitals))


@contextmanager
def running(site: Site, text: str, *flags: str) -> Iterator[Running]:
    folder = site.top / "settings"
    folder.mkdir()
    path = folder / "conductor.toml"
    path.write_text(text)
    with site.daemon("-config", str(path), *flags) as daemon:
        yield Running(site, daemon, path)


def test_a_namespace_that_is_denied_gets_nothing_more(site: Site) -> None:
    with running(site, "") as one:
        site.hand_over("intent-a.json", intent("a"))
        assert site.verdict("intent-a.json")["status"] == "success"
        one.change('deny-namespaces = ["oran-*"]\n')
        site.hand_over("intent-b.json", intent("b"))
        assert site.verdict("intent-b.json")["error"]["code"] == "namespace_denied"
        one.change("")
        site.hand_over("intent-c.json", intent("c"))
        assert site.verdict("intent-c.json")["status"] == "success"


def test_a_retry_is_judged_by_the_rules_of_now(site: Site) -> None:
    with running(site, 'deny-namespaces = ["oran-sim"]\n') as one:
        site.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["status"] == "failed"
        one.change("")
        site.hand_over("intent-b.json", intent("b"))
        site.wait_for_final(2)
        one.change('deny-namespaces = ["oran-sim"]\n')
        refused = site.command("retry", "intent-a.json", "-force")
    assert refused.returncode != 0


def test_the_priority_that_intents_may_ask_for_changes(site: Site) -> None:
    with running(site, "") as one:
        one.change("max-priority = 3\n")
        site.hand_over("intent-a.json", intent(priority=9))
        site.wait_for_final(1)
        assert site.asked("why", "intent-a.json")["priority"] == 3


def test_a_shorter_period_holds_at_once(site: Site) -> None:
    with running(site, 'period = "1h"\nlog-level = "debug"\n') as one:
        scans = [m for m in one.daemon.messages() if m.startswith("scan found")]
        one.change('period = "50ms"\nlog-level = "debug"\n')
        wait_until(
            lambda: sum(m.startswith("scan found") for m in one.daemon.messages()) > len(scans) + 3,
            "the folder is scanned again and again",
        )


def test_a_shorter_debounce_holds_for_what_is_written_next(site: Site) -> None:
    with running(site, 'debounce = "1h"\n') as one:
        one.change('debounce = "10ms"\n')
        (site.handoff / "intent-a.json").write_bytes(intent())
        assert site.verdict("intent-a.json")["status"] == "success"


def test_a_shorter_debounce_holds_for_what_waits_for_its_time_already(site: Site) -> None:
    with running(site, 'debounce = "1h"\nperiod = "1h"\nlog-level = "debug"\n') as one:
        (site.handoff / "intent-a.json").write_bytes(intent())
        wait_until(lambda: one.daemon.has_said("heard of intent-a.json"), "it is looked at")
        one.change('debounce = "10ms"\nperiod = "1h"\nlog-level = "debug"\n')
        assert site.verdict("intent-a.json")["status"] == "success"


def test_what_has_waited_too_long_by_a_new_limit_expires(site: Site) -> None:
    with running(site, "") as one:
        site.pause()
        site.hand_over("intent-a.json", intent())
        site.wait_for_state("intent-a.json", State.WAITING)
        one.change('max-wait = "1ms"\n')
        assert site.verdict("intent-a.json")["status"] == "skipped"
        site.resume()


def test_older_intents_are_superseded_from_now_on(site: Site) -> None:
    with running(site, "") as one:
        site.pause()
        site.hand_over("intent-a.json", intent(replicas=1))
        site.wait_for_state("intent-a.json", State.WAITING)
        one.change("supersede = true\n")
        site.hand_over("intent-b.json", intent(replicas=2))
        assert site.verdict("intent-a.json")["status"] == "skipped"
        site.resume()
        assert site.verdict("intent-b.json")["status"] == "success"


def test_fewer_attempts_count_for_what_is_being_tried(site: Site) -> None:
    text = 'max-attempts = 100\nretry-backoff = "10ms"\n'
    porch = site.porch('echo "$CONDUCTOR_INTENT_ID" >> "$top/ledger"\nexit 75')
    with running(site, text, "-porch", porch) as one:
        site.hand_over("intent-a.json", intent())
        wait_until(lambda: len(site.ledger()) >= 2, "it is tried again")
        one.change('max-attempts = 2\nretry-backoff = "10ms"\n')
        assert site.verdict("intent-a.json")["status"] == "failed"


def test_a_new_deadline_holds_from_the_next_attempt_on_with_the_cpu_time_that_goes_with_it(
    site: Site,
) -> None:
    # The limit comes right after the start, which may be a little late for a short script.
    limited = 'until [ "$(ulimit -t)" != unlimited ]; do :; done; ulimit -t >> "$top/ledger"'
    porch = site.porch(f"case $2 in *slow*) exec sleep 600;; esac\n{limited}")
    with running(site, 'timeout = "10s"\nmax-attempts = 1\n', "-porch", porch) as one:
        site.hand_over("intent-a.json", intent("a"))
        site.verdict("intent-a.json")
        one.change('timeout = "2m"\nmax-attempts = 1\n')
        site.hand_over("intent-b.json", intent("b"))
        site.verdict("intent-b.json")
        one.change('timeout = "100ms"\nmax-attempts = 1\n')
        site.hand_over("intent-slow.json", intent("slow"))
        assert site.verdict("intent-slow.json")["status"] == "timeout"
    assert site.ledger() == ["40", "480"]  # seconds: four times the deadline


HELD = 'echo "$CONDUCTOR_INTENT_ID" >> "$top/ledger"\nuntil [ -e "$top/go" ]; do sleep 0.05; done'
"""A porch that ends when a test says so."""


def test_an_attempt_that_began_under_a_longer_deadline_is_not_stuck_under_a_shorter_one(
    site: Site,
) -> None:
    with running(site, 'timeout = "10m"\n', "-porch", site.porch(HELD)) as one:
        site.hand_over("intent-a.json", intent())
        wait_until(lambda: len(site.ledger()) == 1, "it runs")
        one.change('timeout = "1s"\n')
        (work,) = (loop for loop in vitals(site).loops if loop.name == "work")
        (site.top / "go").touch()
        assert site.verdict("intent-a.json")["status"] == "success"

    assert work.is_due
    assert work.patience > timedelta(minutes=10).total_seconds()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs a CPU that can be taken away")
def test_as_many_attempts_run_as_there_were_cpus_at_the_start(site: Site) -> None:
    with running(site, 'workers = "auto"\n', "-porch", site.porch(HELD)) as one:
        workers = vitals(site).workers
        os.sched_setaffinity(one.daemon.pid, {min(os.sched_getaffinity(one.daemon.pid))})
        one.change('workers = "auto"\nmax-attempts = 7\n')
        for number in range(workers):
            site.hand_over(f"intent-{number}.json", intent(f"amf-{number}"))
        wait_until(lambda: len(site.ledger()) == workers, "all of them run at once")
        assert vitals(site).workers == workers
        (site.top / "go").touch()
        site.wait_for_final(workers)


def test_a_shorter_retention_is_applied_at_once_also_where_there_was_no_tidying(
    site: Site,
) -> None:
    with running(site, 'cleanup-interval = "0"\n') as one:
        site.hand_over("intent-a.json", intent())
        site.wait_for_final(1)
        assert site.names_in("processed") == ["intent-a.json"]
        one.change('retention = "1ms"\n')
        wait_until(lambda: not site.names_in("processed"), "it is removed")
        site.hand_over("intent-b.json", intent("b"))
        assert site.verdict("intent-b.json")["status"] == "success"
        assert site.names_in("processed") == ["intent-b.json"]


@pytest.mark.parametrize("rate", ["intake-rate", "owner-rate", "namespace-rate"])
def test_a_rate_that_is_lifted_lets_go_what_waits_for_it(site: Site, rate: str) -> None:
    # A burst of one an hour: the second would come in an hour.
    with running(site, f'{rate} = "1/h"\nintake-burst = 1\n') as one:
        for name in ("a", "b", "c"):
            site.hand_over(f"intent-{name}.json", intent(name))
        site.verdict("intent-a.json")
        wait_until(lambda: one.daemon.has_said("rate"), "the log says that the rest waits")
        assert site.counts()[State.PUBLISHED] == 1
        one.change(f'{rate} = "2/h"\nintake-burst = 2\n')
        site.verdict("intent-b.json")
        site.verdict("intent-c.json")


def test_a_rate_that_is_set_holds_for_what_comes_then(site: Site) -> None:
    with running(site, "") as one:
        site.hand_over("intent-a.json", intent("a"))
        site.verdict("intent-a.json")
        one.change('namespace-rate = "1/h"\nintake-burst = 1\n')
        site.hand_over("intent-b.json", intent("b"))
        site.verdict("intent-b.json")
        site.hand_over("intent-c.json", intent("c"))
        wait_until(lambda: one.daemon.has_said("over its rate"), "the log says that it waits")
        assert site.counts()[State.WAITING] == 1


def test_the_size_that_a_file_may_have_changes(site: Site) -> None:
    with running(site, "") as one:
        one.change("max-file-size = 16\n")
        site.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["status"] == "failed"
        one.change("")
        site.hand_over("intent-b.json", intent())
        assert site.verdict("intent-b.json")["status"] == "success"


def test_the_least_room_on_the_disk_changes(site: Site) -> None:
    with running(site, "") as one:
        assert site.is_healthy()
        one.change(f'disk-floor = "{1 << 40}KiB"\n')
        assert not site.is_healthy()
        assert "disk-floor" in site.command("health").stdout
        one.change("")
        assert site.is_healthy()


def test_a_verdict_names_the_settings_in_effect(site: Site) -> None:
    with running(site, "") as one:
        site.hand_over("intent-a.json", intent("a"))
        before = site.verdict("intent-a.json")["config_sha256"]
        one.change("max-attempts = 7\n")
        site.hand_over("intent-b.json", intent("b"))
        after = site.verdict("intent-b.json")["config_sha256"]
        path = str(site.top / "settings" / "conductor.toml")
        assert after == site.asked("config", "show", "-config", path)["config_sha256"]
        assert before != after
        assert any(
            line.get("event.action") == "settings_reloaded" and after in line["message"]
            for line in one.daemon.log()
        )


def test_files_wait_above_a_mark_of_memory_and_are_taken_when_it_is_raised(site: Site) -> None:
    with running(site, "") as one:
        with_one_unfinished(site)
        one.change('max-memory = "16MiB"\n')
        wait_until(lambda: one.daemon.has_said("more memory than -max-memory"), "it holds")
        site.hand_over("intent-b.json", intent("b"))
        wait_until(lambda: site.asked("top", "-once")["in_folder"] == 1, "the file is seen to wait")
        checks = {check["name"]: check for check in site.asked("health")["checks"]}
        assert "16 MiB are allowed" in checks["memory"]["message"]
        assert (checks["memory"]["ok"], checks["handoff"]["ok"]) == (False, True)
        assert "memory" in site.command("doctor").stdout.split("not ready: ")[1]
        assert site.counts() == {State.WAITING: 1}
        one.change('max-memory = "1GiB"\n')
        wait_until(lambda: site.counts() == {State.WAITING: 2}, "it is taken")
        site.resume()
        site.wait_for_final(2)
        assert site.is_healthy()
    told = site.asked("audit", "show", "--action", "security.intake_")
    assert [record["action"].removeprefix("security.intake_") for record in told] == [
        "held", "released"
    ]  # fmt: skip


def test_a_mark_below_what_the_daemon_needs_slows_it_and_does_not_stop_it(site: Site) -> None:
    with running(site, "") as one:
        with_one_unfinished(site)
        one.change('max-memory = "16MiB"\n')
        wait_until(lambda: one.daemon.has_said("more memory than -max-memory"), "it holds")
        site.hand_over("intent-b.json", intent("b"))
        site.resume()
        assert site.verdict("intent-b.json")["status"] == "success"
        assert not site.is_healthy()


def with_one_unfinished(site: Site) -> None:
    """What waits for an operator keeps the daemon from being idle."""
    site.pause()
    site.hand_over("intent-a.json", intent("a"))
    wait_until(lambda: site.counts() == {State.WAITING: 1}, "one waits")


def test_every_live_setting_is_changed_above() -> None:
    text = Path(__file__).read_text()
    untold = 3  # the rest of the rules, as deny-namespaces; failed-retention, as retention
    told = {name for name in LIVE if f"{name} =" in text or f'"{name}"' in text}
    assert len(set(LIVE) - told) == untold
    assert set(LIVE) <= set(OPTIONS)
