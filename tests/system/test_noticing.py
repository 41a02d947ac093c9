"""What the real daemon notices in a real folder, and journals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import apsw
import pytest

from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.adapters.users import user_name
from conductor_loop.core.events import Noticed
from conductor_loop.core.states import State
from tests.system.daemon import Site, intent, wait_until


@pytest.fixture
def planted(tmp_path: Path) -> Site:
    """A site with a symlink where an intent is expected."""
    site = Site(tmp_path)
    site.flags = (*site.flags, "-porch", "builtin")
    site.handoff.mkdir(exist_ok=True)
    os.symlink("/etc/passwd", site.handoff / "intent-link.json")
    return site


def noticed(site: Site) -> list[Noticed]:
    with site.journal() as reader:
        events = [entry.event for entry in reader.after(0, 1_000)]
    return [event for event in events if isinstance(event, Noticed)]


def test_row_1_a_symlink_is_an_alert_in_the_journal(planted: Site) -> None:
    planted.once()

    (alert,) = [notice for notice in noticed(planted) if notice.code == "symlink_seen"]
    assert (alert.severity, alert.subject) == ("high", "intent-link.json")


def test_health_tells_of_alerts_and_stays_ready(planted: Site) -> None:
    with planted.daemon():
        wait_until(lambda: "symlink_seen" in planted.command("health").stdout, "alert")

        assert planted.command("health").returncode == 0


def test_detection_can_be_switched_off_and_the_verdict_says_the_same(planted: Site) -> None:
    planted.environment["CONDUCTOR_SECURITY_ENABLED"] = "false"
    planted.once()

    assert "symlink_seen" not in {notice.code for notice in noticed(planted)}
    assert planted.counts() == {State.QUARANTINED: 1}


def test_row_25_a_row_of_the_journal_that_was_altered_is_an_alert(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.hand_over_all({"intent-a.json": intent()})
    with site.daemon("-porch", "builtin"):
        site.verdict("intent-a.json")
        site.pause()
        site.hand_over("intent-b.json", intent("upf"))
        wait_until(lambda: site.counts() == {State.PUBLISHED: 1, State.WAITING: 1}, "it waits")
    harm_journal(site, "UPDATE intents SET priority = 9 WHERE state = 'waiting'")
    with site.daemon("-porch", "builtin"):
        wait_until(lambda: "row_set_aside" in {one.code for one in noticed(site)}, "an alert")

    (alert,) = [notice for notice in noticed(site) if notice.code == "row_set_aside"]
    assert (alert.severity, alert.subject) == ("critical", site.intent_id("intent-b.json"))


def harm_journal(site: Site, statement: str, count: int = 1) -> None:
    connection = apsw.Connection(str(site.state / FILE_NAME))
    connection.execute(statement)
    assert connection.changes() == count
    connection.close()


def audited(site: Site, action: str) -> list[dict[str, Any]]:
    """The records of the audit log about one action."""
    records = json.loads(site.command("audit", "show", "--json").stdout)
    return [record for record in records if record["action"] == action]


@pytest.fixture
def held_up(tmp_path: Path) -> Site:
    """A site with three finished intents, and one that waits and was altered in the journal."""
    site = Site(tmp_path)
    site.flags = (*site.flags, "-porch", "builtin")
    with site.daemon():
        for name in ("a", "b", "c"):
            site.hand_over(f"intent-{name}.json", intent(name))
            site.verdict(f"intent-{name}.json")
        site.pause()
        site.hand_over("intent-d.json", intent("d"))
        wait_until(lambda: site.counts()[State.WAITING] == 1, "it waits")
    site.command("resume")
    return site


def test_once_tells_what_was_set_aside_and_does_not_end_as_if_all_were_well(held_up: Site) -> None:
    harm_journal(held_up, "UPDATE intents SET size = 1 WHERE state = 'waiting'")

    for _ in range(2):
        done = held_up.once()
        assert done.returncode == 8
        assert done.stdout.startswith("1 set aside in ")
        assert "1 intent is damaged in the journal" in done.stderr


def test_a_damaged_intent_that_has_its_verdict_does_not_fail_a_run(held_up: Site) -> None:
    assert held_up.once().returncode == 0
    harm_journal(held_up, "UPDATE intents SET size = 1 WHERE seq = 3")

    assert held_up.once().returncode == 0


def test_whatever_a_short_run_sets_aside_is_in_its_audit_log(held_up: Site) -> None:
    harm_journal(held_up, "UPDATE intents SET size = 1 WHERE filed IS NOT NULL", count=3)
    for _ in range(3):
        held_up.once()
        with held_up.journal() as reader:
            aside = {each.intent_id for each in reader.damaged()}

        assert {each["resource"] for each in audited(held_up, "security.row_set_aside")} == aside


def test_discarding_says_who_and_what_in_audit_log_and_history(held_up: Site) -> None:
    harm_journal(held_up, "UPDATE intents SET size = 1 WHERE state = 'waiting'")
    held_up.once()
    intent_id = held_up.intent_id("intent-d.json")

    done = held_up.command("state", "discard", intent_id)

    assert f"{intent_id}: discarded" in done.stdout
    why = held_up.command("why", intent_id)
    assert "an operator dropped an intent that was set aside" in why.stdout
    held_up.once()
    (shown,) = audited(held_up, "security.row_discarded")
    assert (shown["resource"], shown["actor"]) == (intent_id, user_name(os.geteuid()))
    again = json.loads(held_up.command("why", intent_id, "--json").stdout)
    assert "row_discarded" in {step.get("code") for step in again["history"]}
    assert again["state"] == "published"


@pytest.fixture
def damaged(held_up: Site) -> Site:
    """Its altered intent was set aside."""
    harm_journal(held_up, "UPDATE intents SET size = 1 WHERE state = 'waiting'")
    held_up.once()
    return held_up


def test_what_was_discarded_and_taken_anew_leaves_a_good_audit_log(damaged: Site) -> None:
    damaged.command("state", "discard", damaged.intent_id("intent-d.json"))
    assert damaged.once().returncode == 0

    proved = damaged.command("audit", "verify", "--complete")
    assert (proved.returncode, "5 claimed, 5 ended, 0 open" in proved.stdout) == (0, True)


def test_a_dry_run_of_a_discard_drops_nothing(damaged: Site) -> None:
    intent_id = damaged.intent_id("intent-d.json")

    shown = damaged.command("state", "discard", intent_id, "-dry-run")

    assert (shown.returncode, shown.stdout) == (0, f"{intent_id}: would be discarded\n")
    assert damaged.asked("list", "-open")[0]["damaged"] is True
    assert damaged.asked("state", "discard", intent_id)["discarded"] == [intent_id]


@pytest.mark.parametrize("flags", [(), ("-dry-run",)])
def test_a_discard_of_what_was_not_set_aside_fails(damaged: Site, flags: tuple[str, ...]) -> None:
    done = damaged.command("state", "discard", damaged.intent_id("intent-a.json"), *flags)

    assert (done.returncode, "not set aside, left alone" in done.stdout) == (1, True)
    assert damaged.command("state", "discard", *flags).returncode == 2


def test_a_damaged_entry_of_no_intent_is_named_and_can_be_discarded(held_up: Site) -> None:
    last = "(SELECT max(seq) FROM events WHERE intent IS NULL)"
    harm_journal(held_up, f"UPDATE events SET event = x'00' WHERE seq = {last}")
    assert held_up.once().returncode == 0
    with held_up.journal() as reader:
        [aside] = reader.damaged()
    step = f"conductor-loop state discard {aside.name}"
    assert aside.name.startswith("entry-")

    with held_up.daemon():
        health = held_up.command("health")
    assert (health.returncode, step in health.stdout) == (1, True)
    assert step in held_up.command("list").stdout
    assert held_up.asked("state", "discard", aside.name)["discarded"] == [aside.name]

    with held_up.daemon():
        assert held_up.command("health").returncode == 0
    proved = held_up.command("audit", "verify", "--complete")
    assert (proved.returncode, "4 claimed, 4 ended, 0 open" in proved.stdout) == (0, True)


def test_list_why_and_health_tell_what_is_damaged_and_how_to_go_on(damaged: Site) -> None:
    step = f"conductor-loop state discard {damaged.intent_id('intent-d.json')}"

    listed = damaged.command("list").stdout
    why = damaged.command("why", "intent-d.json").stdout
    with damaged.daemon():
        health = damaged.command("health").stdout

    assert all(step in told for told in (listed, why, health))
    assert [line for line in listed.splitlines() if "waiting, damaged" in line]
    assert "now        waiting, damaged" in why


def test_a_dry_run_of_cancel_ends_what_the_real_one_ends(damaged: Site) -> None:
    for flags in ((), ("-dry-run",)):
        refused = damaged.command("cancel", "intent-d.json", *flags)
        assert (refused.returncode, "neither waits nor runs" in refused.stderr) == (1, True)
        assert damaged.command("cancel", "intent-none.json", *flags).returncode == 2
    assert damaged.asked("cancel", "-all", "-dry-run") == []
    assert damaged.asked("cancel", "-all")["intent_ids"] == []
    damaged.command("state", "discard", damaged.intent_id("intent-d.json"))
    assert damaged.command("cancel", "intent-none.json", "-dry-run").returncode == 2
