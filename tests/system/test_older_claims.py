"""An upgrade with claims in flight: an older daemon gave each a folder of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conductor_loop.core.places import read_claimed
from conductor_loop.core.states import State
from tests.fakes import number_id
from tests.system.daemon import Site, intent, wait_until
from tests.system.divided import Divided, place_of

LOST = number_id(1)


def put_into_folders(state: Path) -> None:
    """Do to the claims what makes them an older daemon's."""
    for place in (state / "claimed").glob("*.json"):
        claim = read_claimed(os.fsencode(place.name))
        assert claim is not None
        folder = place.with_name(claim[0])
        folder.mkdir(mode=0o700)
        place.rename(folder / os.fsdecode(claim[1]))


@pytest.fixture
def older(tmp_path: Path) -> Site:
    """A site whose daemon was killed with two claims journalled, and a third not yet."""
    site = Site(tmp_path)
    with site.daemon() as daemon:
        site.pause()
        site.hand_over("intent-a.json", intent("amf", 3))
        site.hand_over("intent-b.json", intent("smf", 3))
        wait_until(lambda: site.counts()[State.WAITING] == 2, "they wait")
        daemon.kill()
    (site.state / "claimed" / f"{LOST}.intent-lost.json").write_bytes(intent("nrf", 3))
    put_into_folders(site.state)
    return site


def test_claims_of_an_older_daemon_are_run_and_filed(older: Site) -> None:
    assert len(list((older.state / "claimed").glob("*/intent-*.json"))) == 3
    with older.daemon():
        older.resume()
        older.wait_for_final(3)
        assert older.verdict("intent-lost.json")["intent_id"] == LOST
        wait_until(lambda: older.names_in(".conductor/claimed") == [], "all is filed")
    names = ["intent-a.json", "intent-b.json", "intent-lost.json"]
    assert older.names_in("processed") == names
    assert {older.verdict(name)["status"] for name in names} == {"success"}


def test_a_start_that_was_killed_while_it_renamed_them_is_finished_by_the_next(
    older: Site,
) -> None:
    claimed = older.state / "claimed"
    intent_id = older.intent_id("intent-a.json")
    (claimed / intent_id / "intent-a.json").rename(claimed / f"{intent_id}.intent-a.json")
    older.command("resume")
    assert older.once().returncode == 0
    assert older.counts() == {State.PUBLISHED: 3}
    assert older.names_in("processed") == ["intent-a.json", "intent-b.json", "intent-lost.json"]
    assert older.names_in(".conductor/claimed") == []


def test_a_rebuilt_journal_knows_claims_in_either_form(older: Site) -> None:
    claimed = older.state / "claimed"
    intent_id = older.intent_id("intent-a.json")
    (claimed / intent_id / "intent-a.json").rename(claimed / f"{intent_id}.intent-a.json")
    expected = sorted([intent_id, older.intent_id("intent-b.json"), LOST])
    for path in older.state.glob("journal.db*"):
        path.unlink()
    done = older.command("state", "rebuild", "--json")
    assert sorted(json.loads(done.stdout)["held"]) == expected


def test_a_copy_that_an_older_distributor_was_making_is_made_anew(
    divided: Divided, elsewhere: Path
) -> None:
    for ordinal, site in enumerate(divided.sites):
        site.handoff = elsewhere / str(ordinal)
        site.handoff.mkdir()
    assert divided.distributed().returncode == 0
    (divided.state / "claimed" / LOST).mkdir()
    (divided.state / "claimed" / LOST / "intent-a.json").write_bytes(intent("amf", 3))
    handoff = divided.sites[place_of("amf")].handoff
    copy = handoff / f".arriving-{(divided.state / 'inbox-id').read_text()}-{LOST}"
    copy.mkdir()
    (copy / "intent-a.json").write_bytes(intent("amf", 3)[:9])
    assert divided.distributed().stdout == "1 moved, 0 set aside, 0 kept\n"
    assert (handoff / "intent-a.json").read_bytes() == intent("amf", 3)
    assert not copy.exists()
    assert divided.names_in(".conductor/claimed") == []
