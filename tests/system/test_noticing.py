"""What the real daemon notices in a real folder, and journals."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

from conductor_loop.adapters.journal.database import FILE_NAME
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


def harm_journal(site: Site, statement: str) -> None:
    connection = apsw.Connection(str(site.state / FILE_NAME))
    connection.execute(statement)
    assert connection.changes() == 1
    connection.close()
