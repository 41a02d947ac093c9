"""Retention: what is final and old enough goes; what is unfinished, foreign or a package stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conductor_loop.core.events import Tidied
from conductor_loop.core.states import State
from tests.system.daemon import Site, intent, wait_until

SOON = ("-cleanup-interval", "50ms")
"""Rounds come quickly, so that a test sees several."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def finish(site: Site, files: dict[str, bytes], *flags: str) -> None:
    """Hand over and work through it, with nothing being forgotten."""
    site.hand_over_all(files)
    site.once("-cleanup-interval", "0", *flags)


def wait_for_round(site: Site, name: str = "intent-rejected.json") -> None:
    """Wait until a round of forgetting has taken this one."""
    wait_until(lambda: site.names_in("failed") == [], f"{name} is gone")
    wait_until(lambda: site.counts()[State.REJECTED] == 0, f"{name} is forgotten")


def test_a_processed_file_and_its_verdict_go_after_the_retention(site: Site) -> None:
    finish(site, {"intent-a.json": intent(replicas=1)})
    finish(site, {"intent-b.json": intent(replicas=2)})
    with site.daemon("-retention", "1ms", *SOON) as daemon:
        wait_until(lambda: "intent-a.json" not in site.names_in("processed"), "the file goes")
        wait_until(lambda: not site.verdict_path("intent-a.json").exists(), "the verdict goes")
        wait_until(lambda: daemon.has_said("past their retention"), "it is told")
    assert site.command("why", "intent-a.json").returncode == 2


def tidied(site: Site) -> list[Tidied]:
    """What the journal keeps of what tidying told."""
    with site.journal() as reader:
        events = [entry.event for entry in reader.after(0, 1_000)]
    return [event for event in events if isinstance(event, Tidied)]


def test_the_journal_forgets_the_ids_too_and_the_audit_log_keeps_them(site: Site) -> None:
    ids = []
    for name in ("intent-a.json", "intent-b.json"):
        finish(site, {name: intent(name[7])})
        ids.append(site.intent_id(name))
        with site.daemon("-retention", "1ms", *SOON) as daemon:
            wait_until(lambda: daemon.has_said("past their retention"), "it is told")

    assert tidied(site) == [Tidied(()), Tidied((ids[1],))]
    told = site.asked("audit", "show", "--action", "retention.removed")
    assert [record["details"]["intents"] for record in told] == [[ids[0]], [ids[1]]]
    assert site.command("audit", "verify", "--complete").returncode == 0


def test_the_last_one_of_a_target_goes_too(site: Site) -> None:
    finish(site, {"intent-a.json": intent()})
    with site.daemon("-retention", "1ms", *SOON):
        wait_until(lambda: site.names_in("processed") == [], "the file goes")
        wait_until(lambda: site.names_in("status") == ["history"], "the verdict goes")


def test_the_same_file_runs_again_when_its_verdict_is_gone(site: Site) -> None:
    finish(site, {"intent-a.json": intent()})
    with site.daemon("-retention", "1ms", *SOON) as daemon:
        wait_until(lambda: daemon.has_said("past their retention"), "all of it is gone")
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once("-cleanup-interval", "0").stdout.startswith("1 published in ")
    assert site.names_in("processed") == ["intent-a.json"]
    assert site.verdict_path("intent-a.json").exists()


def test_an_older_verdict_of_a_name_goes_and_the_newer_one_stays(site: Site) -> None:
    finish(site, {"intent-a.json": intent(replicas=1)})
    finish(site, {"intent-a.json": b"{}"})
    finish(site, {"intent-b.json": intent(replicas=2)})
    assert len(site.names_in("status/history")) == 1
    with site.daemon("-retention", "1ms", *SOON):
        wait_until(lambda: site.names_in("status/history") == [], "the old verdict goes")
    assert site.verdict("intent-a.json")["status"] == "failed"
    assert site.names_in("failed") == ["intent-a.json", "intent-a.json.error.log"]


def test_failed_ones_have_a_retention_of_their_own(site: Site) -> None:
    porch = site.porch("exit 2")
    finish(site, {"intent-a.json": intent(replicas=1)}, "-porch", porch)
    finish(site, {"intent-rejected.json": b"{}", "intent-b.json": intent(replicas=2)})
    with site.daemon("-failed-retention", "1ms", *SOON):
        wait_for_round(site)
        wait_until(lambda: site.names_in("failed") == [], "files and error logs go")
    assert site.names_in("status") == ["history", "intent-b.json.status"]
    assert site.names_in("processed") == ["intent-b.json"]
    assert site.counts() == {State.PUBLISHED: 1}


def test_what_was_set_aside_goes_with_the_failed_ones(site: Site) -> None:
    site.handoff.mkdir()
    (site.handoff / "intent-link.json").symlink_to("/etc/passwd")
    finish(site, {})
    assert len(site.names_in(".conductor/quarantine")) == 1
    with site.daemon("-failed-retention", "1ms", *SOON):
        wait_until(lambda: site.names_in(".conductor/quarantine") == [], "it goes")
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize("retention", ["0", "1h"])
def test_what_may_stay_stays_whatever_the_time_of_its_file_is(site: Site, retention: str) -> None:
    finish(site, {"intent-a.json": intent(replicas=1)})
    finish(site, {"intent-b.json": intent(replicas=2), "intent-rejected.json": b"{}"})
    os.utime(site.handoff / "processed/intent-a.json", (0, 0))
    with site.daemon("-retention", retention, "-failed-retention", "1ms", *SOON):
        wait_for_round(site)
    assert site.names_in("processed") == ["intent-a.json", "intent-b.json"]
    assert site.verdict("intent-a.json")["status"] == "success"


def test_what_is_unfinished_is_never_touched(site: Site) -> None:
    site.once()
    site.hand_over_all({"intent-a.json": intent(), "intent-rejected.json": b"{}"})
    site.command("pause")
    with site.daemon("-retention", "1ms", "-failed-retention", "1ms", *SOON):
        site.wait_for_state("intent-a.json", State.WAITING)
        wait_for_round(site)
        assert site.counts() == {State.WAITING: 1}
        site.resume()
        assert site.verdict("intent-a.json")["status"] == "success"


def test_packages_and_files_of_others_are_never_touched(site: Site) -> None:
    finish(site, {"intent-a.json": intent(replicas=1)})
    finish(site, {"intent-b.json": intent(replicas=2), "intent-rejected.json": b"{}"})
    theirs = [site.handoff / "processed/intent-theirs.json", site.handoff / "failed/note.txt"]
    for path in theirs:
        path.write_text("theirs")
        os.utime(path, (0, 0))
    with site.daemon("-retention", "1ms", "-failed-retention", "1ms", *SOON):
        wait_until(lambda: "intent-a.json" not in site.names_in("processed"), "a round has been")
        wait_until(lambda: site.names_in("failed") == ["note.txt"], "a round has been")
    assert all(path.read_text() == "theirs" for path in theirs)
    assert (site.out / "oran-sim/amf/scaling-patch.yaml").exists()


def test_without_clean_ups_everything_stays(site: Site) -> None:
    finish(site, {"intent-a.json": intent(replicas=1)})
    flags = ("-retention", "1ms", "-failed-retention", "1ms", "-cleanup-interval", "0")
    with site.daemon(*flags):
        site.hand_over("intent-b.json", intent(replicas=2))
        site.verdict("intent-b.json")
    assert site.names_in("processed") == ["intent-a.json", "intent-b.json"]


def test_once_finishes_its_first_round_and_leaves_a_true_audit_log(site: Site) -> None:
    finish(site, {f"intent-{n}.json": intent(f"t{n}") for n in range(3)})
    finish(site, {"intent-rejected.json": b"{}"})
    assert site.once("-retention", "1ms", "-failed-retention", "1ms").returncode == 0
    left = [site.names_in(folder) for folder in ("processed", "failed", "status")]
    assert left == [[], [], ["history"]]
    with site.journal() as reader:
        assert reader.told_to_go() == (0, [])
    assert site.command("audit", "verify", "--complete").returncode == 0
