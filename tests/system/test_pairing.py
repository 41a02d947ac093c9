"""Which journal serves which handoff: nothing is left behind in one, or run twice by two."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.system.daemon import Site, intent

NAMES = ("intent-a.json", "intent-b.json")
RECORD = ".conductor/journal-id"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose state is beside the handoff folder."""
    made = Site(tmp_path)
    made.state = tmp_path / "state"
    made.flags += ("-state-dir", "state")
    return made


def leave_open(site: Site) -> None:
    """Have a daemon killed with two intents waiting, which nothing holds afterwards."""
    with site.daemon() as daemon:
        site.pause()
        for name in NAMES:
            site.hand_over(name, intent(name[7]))
            site.wait_for_state(name, State.WAITING)
        daemon.kill()
    assert site.command("resume", "-state-dir", "state").returncode == 0


def claims(site: Site) -> list[str]:
    return sorted(name.split(".", 1)[1] for name in site.names_in(".conductor/claimed"))


def finishes_both(site: Site, *flags: str) -> bool:
    done = site.once(*flags)
    return done.stdout.startswith("2 published in ") and claims(site) == []


def test_a_journal_with_open_intents_serves_no_other_handoff(site: Site) -> None:
    leave_open(site)

    done = site.once("-handoff", "other")

    assert done.returncode == 1
    assert "do not belong together" in done.stderr
    for path in ("other", "handoff", "state"):
        assert str(site.top / path) in done.stderr
    assert "start once with those that do" in done.stderr
    assert not list((site.top / "other/status").glob("*.status"))
    assert claims(site) == list(NAMES)
    assert finishes_both(site)


@pytest.mark.parametrize("words", [("pause",), ("cancel", NAMES[0]), ("resume",)])
def test_a_command_changes_nothing_in_a_journal_of_another_handoff(
    site: Site, words: tuple[str, ...]
) -> None:
    leave_open(site)

    done = site.command(*words, "-handoff", "other", "-state-dir", "state")

    assert done.returncode == 1
    assert "do not belong together" in done.stderr
    assert finishes_both(site)


def test_a_handoff_with_claims_is_served_with_no_other_journal(site: Site) -> None:
    leave_open(site)

    done = site.once("-state-dir", "second")

    assert done.returncode == 1
    assert "do not belong together" in done.stderr
    for path in ("handoff", "state", "second"):
        assert str(site.top / path) in done.stderr
    assert site.names_in("status") == ["history"]
    assert finishes_both(site)


def test_with_nothing_open_a_new_pair_is_told_of_and_is_one_from_then_on(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    assert "belong together" not in site.once().stderr

    told = site.once("-state-dir", "second").stderr

    assert "belong together from now on" in told
    assert str(site.state) in told
    assert "belong together" not in site.once("-state-dir", "second").stderr
    assert "belong together from now on" in site.once("-handoff", "other").stderr


def test_a_rebuilt_journal_takes_over_what_is_claimed_and_holds_it(site: Site) -> None:
    leave_open(site)

    assert site.command("state", "rebuild", "-state-dir", "second").returncode == 0

    for target in "ab":
        words = ("resume", "-target", f"oran-sim/{target}", "-state-dir", "second")
        assert site.command(*words).returncode == 0
    assert finishes_both(site, "-state-dir", "second")
    assert "do not belong together" in site.once().stderr


def test_a_state_dir_that_was_moved_goes_on(site: Site) -> None:
    leave_open(site)
    shutil.move(site.state, site.top / "moved")
    assert finishes_both(site, "-state-dir", "moved")


def test_a_handoff_that_was_moved_with_what_is_in_it_goes_on(site: Site) -> None:
    leave_open(site)
    site.handoff = site.handoff.rename(site.top / "moved")
    assert finishes_both(site, "-handoff", "moved")


def test_a_handoff_that_was_made_anew_in_its_place_goes_on(site: Site) -> None:
    leave_open(site)
    shutil.rmtree(site.handoff)
    site.handoff.mkdir()

    done = site.once()

    assert done.stdout.startswith("2 published in ")
    assert f"the journal in {site.state} served {site.handoff}" in done.stderr


def test_a_journal_that_was_lost_and_begins_anew_in_its_place_goes_on(site: Site) -> None:
    leave_open(site)
    shutil.rmtree(site.state)
    assert finishes_both(site)


def test_a_handoff_renamed_away_and_made_anew_under_the_daemon_keeps_its_journal(
    site: Site,
) -> None:
    with site.daemon() as daemon:
        site.pause()
        for name in NAMES:
            site.hand_over(name, intent(name[7]))
            site.wait_for_state(name, State.WAITING)
        site.handoff.rename(site.top / "away")
        site.handoff.mkdir()
        site.hand_over("intent-c.json", intent("c"))
        site.wait_for_state("intent-c.json", State.WAITING)
        daemon.kill()
    site.command("resume", "-state-dir", "state")

    assert (site.handoff / RECORD).exists()
    assert site.once().stdout.startswith("3 published in ")


def test_the_record_is_ours_alone(site: Site) -> None:
    site.once()
    assert (site.handoff / RECORD).stat().st_mode & 0o777 == 0o600
