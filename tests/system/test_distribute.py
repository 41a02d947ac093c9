"""`distribute`: one inbox for several daemons, each target always with the same one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
import yaml

from conductor_loop.core.distribution import ordinal_of
from tests.system.daemon import Site, intent, wait_until
from tests.system.divided import Divided, place_of

TARGETS = ["amf", "ausf", "nrf", "nssf", "pcf", "smf", "upf"]


def test_each_file_goes_to_the_handoff_of_its_target(divided: Divided) -> None:
    files = {f"intent-{target}.json": intent(target) for target in TARGETS}
    divided.hand_over_all(files)
    done = divided.distributed("--json")
    assert done.returncode == 0
    for target in TARGETS:
        path = divided.sites[place_of(target)].handoff / f"intent-{target}.json"
        assert path.read_bytes() == files[path.name]
    counts = [len(divided.names_at(ordinal)) for ordinal in range(3)]
    assert json.loads(done.stdout) == {"moved": counts, "set_aside": 0, "kept": 0}
    assert sum(counts) == len(TARGETS)
    assert divided.claims() == []


def test_which_handoff_a_target_has_is_told(divided: Divided) -> None:
    ordinal = place_of("upf")
    done = divided.command(*divided.words, "--which", "oran-sim/upf")
    assert done.stdout == f"{ordinal}  {divided.sites[ordinal].handoff}\n"
    told = json.loads(divided.command(*divided.words, "--which", "oran-sim/upf", "--json").stdout)
    assert told["ordinal"] == ordinal


def test_three_daemons_finish_what_a_killed_distributor_and_its_successor_divide(
    divided: Divided,
) -> None:
    handed = [(f"intent-{n:02}-{TARGETS[n % 7]}.json", TARGETS[n % 7], n + 1) for n in range(60)]
    with contextlib.ExitStack() as running:
        for site in divided.sites:
            running.enter_context(site.daemon())
        with divided.distributor() as first:
            for name, target, replicas in handed[:30]:
                divided.hand_over(name, intent(target, replicas))
            wait_until(lambda: first.has_said("goes to"), "it has begun")
            first.kill()
        for name, target, replicas in handed[30:45]:
            divided.hand_over(name, intent(target, replicas))
        with divided.distributor() as second:
            for name, target, replicas in handed[45:]:
                divided.hand_over(name, intent(target, replicas))
            wait_until(lambda: _verdicts(divided) >= 60, "all have a verdict")
            assert second.stop() == 0
    assert _verdicts(divided) == 60
    assert divided.names_in(".conductor/claimed") == []
    for name, target, _ in handed:
        holders = [site for site in divided.sites if site.verdict_path(name).exists()]
        assert holders == [divided.sites[place_of(target)]]
        assert holders[0].verdict(name)["status"] == "success"
    for target in TARGETS:
        packages = [site.out / "oran-sim" / target for site in divided.sites]
        (package,) = (package for package in packages if package.exists())
        patch = yaml.safe_load((package / "scaling-patch.yaml").read_text())
        assert patch["spec"]["replicas"] == max(n for _, t, n in handed if t == target)


def _verdicts(divided: Divided) -> int:
    """How many there are, those of names that came twice included."""
    return sum(len(list((site.handoff / "status").rglob("[!.]*.status"))) for site in divided.sites)


def test_what_cannot_be_read_is_judged_by_exactly_one_daemon(divided: Divided) -> None:
    divided.hand_over_all({"intent-bad.json": b"{", "intent-other.json": b"\xff"})
    (divided.handoff / "intent-link.json").symlink_to("/etc/passwd")
    original = divided.top / "original"
    original.write_bytes(intent())
    os.link(original, divided.handoff / "intent-hard.json")
    (divided.handoff / "notes.txt").touch()
    assert divided.distributed().returncode == 0
    assert (divided.handoff / "notes.txt").exists()
    names = ["intent-bad.json", "intent-hard.json", "intent-link.json", "intent-other.json"]
    for site in divided.sites:
        assert site.once().returncode in (0, 8)
    for name in names:
        (holder,) = (site for site in divided.sites if site.verdict_path(name).exists())
        assert holder is divided.sites[ordinal_of(name.encode(), 3)]
        assert holder.verdict(name)["status"] == "failed"
    assert original.read_bytes() == intent()


def test_a_name_that_is_taken_waits_with_its_target_and_others_go_on(divided: Divided) -> None:
    ordinal = place_of("amf")
    taken = divided.sites[ordinal].handoff / "intent-a.json"
    taken.write_bytes(b"theirs")
    with divided.distributor() as distributor:
        divided.hand_over_all(
            {"intent-a.json": intent("amf", 1), "intent-b.json": intent("amf", 2)}
        )
        divided.hand_over("intent-c.json", intent("smf"))
        wait_until(lambda: "intent-c.json" in divided.names_at(place_of("smf")), "smf goes on")
        wait_until(lambda: distributor.has_said("intent-a.json waits"), "amf waits")
        assert taken.read_bytes() == b"theirs"
        assert divided.claims() == ["intent-a.json", "intent-b.json"]
        taken.unlink()
        wait_until(lambda: divided.claims() == [], "amf follows")
    assert taken.read_bytes() == intent("amf", 1)
    assert "intent-b.json" in divided.names_at(ordinal)


def test_once_keeps_what_cannot_be_moved_for_the_next_start(divided: Divided) -> None:
    taken = divided.sites[place_of("amf")].handoff / "intent-a.json"
    taken.write_bytes(b"theirs")
    divided.hand_over_all({"intent-a.json": intent("amf"), "intent-b.json": intent("smf")})
    done = divided.distributed()
    assert (done.returncode, done.stdout) == (1, "1 moved, 0 set aside, 1 kept\n")
    assert divided.claims() == ["intent-a.json"]
    taken.unlink()
    assert divided.distributed().returncode == 0
    assert taken.read_bytes() == intent("amf")


def test_a_handoff_that_goes_away_keeps_its_files_in_the_inbox(divided: Divided) -> None:
    site = divided.sites[place_of("amf")]
    with divided.distributor() as distributor:
        site.handoff.rename(site.top / "away")
        divided.hand_over_all({"intent-a.json": intent("amf")})
        wait_until(lambda: distributor.has_said("nothing can be moved into"), "it says so")
        assert divided.claims() == ["intent-a.json"]
        (site.top / "away").rename(site.handoff)
        wait_until((site.handoff / "intent-a.json").exists, "it goes on")


def test_intents_of_a_target_keep_their_order_whatever_their_names_are(divided: Divided) -> None:
    names = [f"intent-{letter}.json" for letter in "zyxwvutsrqponm"]
    divided.hand_over_all({name: intent("amf", n) for n, name in enumerate(names, 1)})
    assert divided.distributed().returncode == 0
    handoff = divided.sites[place_of("amf")].handoff
    found = sorted((path.stat().st_ctime_ns, path.name) for path in handoff.glob("intent-*"))
    assert [name for _, name in found] == names


def test_other_handoffs_are_taken_once_the_old_ones_are_drained(divided: Divided) -> None:
    divided.hand_over_all({f"intent-{target}.json": intent(target) for target in TARGETS})
    assert divided.distributed().returncode == 0
    divided.sites.append(Site(divided.top / "site-3"))
    divided.sites[3].handoff.mkdir(parents=True)
    refused = divided.distributed()
    assert refused.returncode == 1
    assert "other handoffs are given than before" in refused.stderr
    for site in divided.sites[:3]:
        assert site.once().returncode == 0
    assert divided.distributed().returncode == 0
    divided.hand_over("intent-a.json", b"{")
    assert divided.distributed().returncode == 0


def test_a_claim_that_is_not_filed_yet_is_not_drained(divided: Divided) -> None:
    site = divided.sites[0]
    assert divided.distributed().returncode == 0
    porch = site.porch('while [ ! -e "$top/go" ]; do /bin/sleep 0.02; done')
    with site.daemon("-porch", porch):
        site.hand_over("intent-a.json", intent())
        wait_until(lambda: not list(site.handoff.glob("intent-*")), "it is claimed")
        divided.sites.pop()
        assert "1 intents of" in divided.distributed().stderr
        (site.top / "go").touch()
        site.verdict("intent-a.json")
        assert divided.distributed().returncode == 0


def test_submit_hands_over_to_an_inbox_and_says_where_verdicts_come(divided: Divided) -> None:
    assert divided.distributed().returncode == 0
    (divided.top / "intent-a.json").write_bytes(intent("amf"))
    words = ("submit", "-handoff", str(divided.handoff), "intent-a.json")
    waiting = divided.command(*words, "--wait")
    assert (waiting.returncode, divided.distributed().stdout[:7]) == (2, "0 moved")
    done = divided.command(*words)
    assert done.returncode == 0
    assert "verdicts come in the handoffs" in done.stderr
    assert divided.distributed().returncode == 0
    assert divided.names_at(place_of("amf")) == ["intent-a.json"]


def test_what_cannot_be_copied_to_another_file_system_is_set_aside_in_the_inbox(
    divided: Divided, elsewhere: Path
) -> None:
    for ordinal, site in enumerate(divided.sites):
        site.handoff = elsewhere / str(ordinal)
        site.handoff.mkdir()
    divided.hand_over_all({"intent-a.json": intent("amf")})
    (divided.handoff / "intent-link.json").symlink_to("/etc/passwd")
    done = divided.distributed()
    assert (done.returncode, done.stdout) == (1, "1 moved, 1 set aside, 0 kept\n")
    assert "set aside in" in done.stderr
    assert divided.names_at(place_of("amf")) == ["intent-a.json"]
    (kept,) = divided.state.glob("quarantine/*/intent-link.json")
    assert kept.is_symlink()
    assert divided.distributed().stdout == "0 moved, 0 set aside, 0 kept\n"


@pytest.mark.parametrize("length", [228, 229, 248])
@pytest.mark.parametrize("are_far", [False, True], ids=["one file system", "two file systems"])
def test_a_name_of_any_length_is_moved_and_leaves_no_claim(
    divided: Divided, elsewhere: Path, length: int, *, are_far: bool
) -> None:
    name, link = (f"intent-{c}{'x' * (length - 13)}.json" for c in "al")
    for ordinal, site in enumerate(divided.sites if are_far else ()):
        site.handoff = elsewhere / str(ordinal)
        site.handoff.mkdir()
    divided.hand_over_all({name: intent("amf")})
    (divided.handoff / link).symlink_to("/etc/passwd")
    assert divided.distributed().returncode == (1 if are_far else 0)
    places = [divided.sites[n].handoff / name for n in range(3)]
    assert [place.read_bytes() for place in places if place.exists()] == [intent("amf")]
    aside = list(divided.state.glob(f"quarantine/*/{link}"))
    assert [path.is_symlink() for path in aside] == [True] * are_far
    assert divided.names_in(".conductor/claimed") == []


def test_a_second_distributor_and_a_daemon_are_refused(divided: Divided) -> None:
    with divided.distributor() as first:
        again = divided.distributed()
        assert (again.returncode, str(first.pid) in again.stderr) == (1, True)
        daemon = divided.command("-handoff", str(divided.handoff), "-porch", "builtin", "-once")
        assert (daemon.returncode, str(first.pid) in daemon.stderr) == (1, True)
        assert first.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("to", "flags", "error"),
    [
        ("{top}/site-0/handoff,{top}/site-0/../site-0/handoff", (), "is named twice"),
        ("{top}/front/inbox,{top}/site-0/handoff", (), "is named twice"),
        ("{top}/site-0/handoff,", (), "-to names no handoffs"),
        ("/data/{}", (), "-to names no handoffs"),
        ("/data/{}", ("--count", "0"), "-to names no handoffs"),
        ("/data", ("--count", "2"), "--count is given without one {} in -to"),
        ("{top}/none", (), "cannot open the handoff folder"),
        ("/data", ("--which", "amf"), "amf is no target"),
    ],
)
def test_a_mistake_moves_nothing(
    divided: Divided, to: str, flags: tuple[str, ...], error: str
) -> None:
    divided.hand_over_all({"intent-a.json": intent()})
    where = to.replace("{top}", str(divided.top))
    done = divided.command(
        "distribute", "-handoff", str(divided.handoff), "-to", where, *flags, "-once"
    )
    assert done.returncode in (1, 2)
    assert error in done.stderr
    assert (divided.handoff / "intent-a.json").exists()
