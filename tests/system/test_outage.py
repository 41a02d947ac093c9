"""Outages: what is not the intents' fault is waited for, and none of them is failed for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conductor_loop.adapters.sandbox import landlock
from conductor_loop.core.states import State
from tests.system.daemon import Daemon, Site, intent, wait_until
from tests.system.test_jail import be_ordinary

# Out of order as long as `$top/outage` holds an exit status.
FAILS_DURING_OUTAGE = """
echo "$name" >> "$top/ledger"
status=0
{ read -r status < "$top/outage"; } 2>/dev/null
exit "$status"
"""


def crowd(count: int) -> dict[str, bytes]:
    """Intents for 20 targets."""
    return {f"intent-{n:03}.json": intent(f"t{n % 20}", n % 100) for n in range(count)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def begin_outage(site: Site, status: int) -> Path:
    """From now on porch exits like this, until the file is removed."""
    written = site.top / "written"
    written.write_text(f"{status}\n")
    return written.rename(site.top / "outage")


def wait_for_outage(site: Site, daemon: Daemon, count: int) -> None:
    wait_until(lambda: daemon.has_said("the environment fails"), "the outage is noticed")
    wait_until(lambda: site.counts().total() == count, "all are admitted")


@pytest.mark.parametrize(("status", "count"), [(4, 500), (124, 60), (126, 60)])
def test_while_porch_fails_for_everybody_nothing_fails_and_afterwards_all_succeed(
    site: Site, status: int, count: int
) -> None:
    porch = site.porch(FAILS_DURING_OUTAGE)
    outage = begin_outage(site, status)
    with site.daemon("-porch", porch, "-workers", "4") as daemon:
        site.hand_over_all(crowd(count))
        wait_for_outage(site, daemon, count)
        assert len(site.ledger()) < 50  # a few at first, then one probe per backoff
        assert not site.is_healthy()
        outage.unlink()
        site.wait_for_final(count)
        assert daemon.has_said("porch answers again after")
        assert site.is_healthy()
    assert site.counts() == {State.PUBLISHED: count}
    assert site.names_in("failed") == []


def test_while_porch_is_gone_nothing_fails_and_afterwards_all_succeed(site: Site) -> None:
    porch = site.porch('echo "$name" >> "$top/ledger"')
    with site.daemon("-porch", porch, "-workers", "4") as daemon:
        os.rename(porch, f"{porch}-away")
        site.hand_over_all(crowd(500))
        wait_for_outage(site, daemon, 500)
        assert site.ledger() == []
        assert daemon.has_said("porch cannot be started")
        os.rename(f"{porch}-away", porch)
        site.wait_for_final(500)
    assert site.counts() == {State.PUBLISHED: 500}
    assert sorted(site.ledger()) == sorted(crowd(500))
    assert site.names_in("failed") == []


def test_an_outage_in_the_middle_is_survived_too(site: Site) -> None:
    porch = site.porch(FAILS_DURING_OUTAGE)
    with site.daemon("-porch", porch, "-workers", "4") as daemon:
        site.hand_over_all(crowd(200))
        wait_until(lambda: len(site.ledger()) > 50, "some have run")
        outage = begin_outage(site, 5)
        wait_for_outage(site, daemon, 200)
        outage.unlink()
        site.wait_for_final(200)
    assert site.counts() == {State.PUBLISHED: 200}
    assert site.names_in("failed") == []


def test_no_attempt_counts_that_failed_in_an_outage(site: Site) -> None:
    porch = site.porch(FAILS_DURING_OUTAGE)
    outage = begin_outage(site, 127)
    with site.daemon("-porch", porch, "-max-attempts", "1"):
        site.hand_over_all({"intent-a.json": intent("amf"), "intent-b.json": intent("upf")})
        wait_until(lambda: len(site.ledger()) >= 5, "it was tried several times")
        outage.unlink()
        verdicts = site.verdicts("intent-a.json", "intent-b.json")
    assert [verdict["status"] for verdict in verdicts] == ["success", "success"]
    outcomes = [attempt["outcome"] for attempt in verdicts[0]["attempts"]]
    assert outcomes == ["handed_back"] * (len(outcomes) - 1) + ["success"]


def test_a_script_that_exits_127_for_one_input_fails_that_one_and_stops_no_other(
    site: Site,
) -> None:
    porch = site.porch('case $name in *-bad.json) exit 127 ;; esac; echo "$name" >> "$top/ledger"')
    others = {f"intent-{n:02}.json": intent(f"t{n}") for n in range(30)}
    site.hand_over_all({"intent-bad.json": intent("bad"), **others})
    done = site.once("-porch", porch, "-workers", "1")
    assert done.returncode == 8
    assert site.counts() == {State.PUBLISHED: 30, State.FAILED: 1}
    assert site.names_in("failed") == ["intent-bad.json", "intent-bad.json.error.log"]
    assert site.verdict("intent-bad.json")["error"]["exit_code"] == 127


BAD_FOR_127 = 'case $name in *-bad.json) exit 127 ;; esac; echo "$name" >> "$top/ledger"'


def let_bad_ones_fail(site: Site, good: int, bad: int) -> None:
    """Wait for what succeeds, hand over more that will, and wait until the bad ones failed."""
    wait_until(lambda: site.counts()[State.PUBLISHED] == good, "all good ones succeed")
    # Two answers to others are needed to blame what fails as an outage does.
    for n in range(2):
        site.hand_over(f"intent-later-{n}.json", intent(f"later{n}"))
        assert site.verdict(f"intent-later-{n}.json")["status"] == "success"
    site.wait_for_final(good + bad + 2)
    assert site.counts() == {State.PUBLISHED: good + 2, State.FAILED: bad}
    assert site.is_healthy()


def test_several_bad_ones_before_all_others_stop_none_of_them(site: Site) -> None:
    bad = {f"intent-{n}-bad.json": intent(f"bad{n}", priority=10) for n in range(3)}
    good = {f"intent-{n:02}.json": intent(f"t{n}") for n in range(10)}
    with site.daemon("-porch", site.porch(BAD_FOR_127), "-workers", "1"):
        site.hand_over_all({**bad, **good})
        let_bad_ones_fail(site, 10, 3)


def test_bad_ones_among_good_ones_fail_by_themselves(site: Site) -> None:
    kinds = ["bad" if n % 6 == 3 else "good" for n in range(30)]
    files = {f"intent-{n:02}-{kind}.json": intent(f"t{n}") for n, kind in enumerate(kinds)}
    with site.daemon("-porch", site.porch(BAD_FOR_127), "-workers", "1"):
        site.hand_over_all(files)
        let_bad_ones_fail(site, 25, 5)


def test_a_bad_one_fails_also_when_it_comes_last_and_alone(site: Site) -> None:
    porch = site.porch("case $name in *-bad.json) exit 127 ;; esac")
    with site.daemon("-porch", porch):
        site.hand_over("intent-good.json", intent("good"))
        site.verdict("intent-good.json")
        site.hand_over("intent-bad.json", intent("bad"))
        wait_until(lambda: len(site.events("intent-bad.json")) > 4, "it was tried")
        # Only an answer to somebody else can tell that porch itself is well.
        site.hand_over("intent-other.json", intent("other"))
        assert site.verdict("intent-other.json")["status"] == "success"
        site.wait_for_final(3)
        assert site.verdict("intent-bad.json")["status"] == "failed"


def test_once_gives_up_when_an_outage_lasts_longer_than_the_timeout(site: Site) -> None:
    porch = site.porch("exit 4")
    site.hand_over_all({"intent-a.json": intent("amf"), "intent-b.json": intent("upf")})
    done = site.once("-porch", porch, "-timeout", "300ms")
    assert done.returncode == 1
    assert done.stdout.startswith("2 kept in ")
    assert "ERROR: gave up, 2 intents are kept for the next start" in done.stderr
    assert "longer than -timeout (porch gives no answer)" in done.stderr
    assert site.names_in("failed") == []
    assert site.once("-porch", site.porch("exit 0")).returncode == 0
    assert site.names_in("processed") == ["intent-a.json", "intent-b.json"]


def test_once_waits_out_a_short_outage(site: Site) -> None:
    porch = site.porch(
        'printf x >> "$top/tries"; read -r tries < "$top/tries"; [ ${#tries} -gt 6 ] || exit 4'
    )
    site.hand_over_all({"intent-a.json": intent("amf"), "intent-b.json": intent("upf")})
    assert site.once("-porch", porch).returncode == 0
    assert site.counts() == {State.PUBLISHED: 2}


def test_while_porch_hangs_for_everybody_nothing_fails_and_afterwards_all_succeed(
    site: Site,
) -> None:
    porch = site.porch('[ -e "$top/outage" ] && exec /bin/sleep 1000; exit 0')
    outage = site.top / "outage"
    outage.touch()
    flags = ("-porch", porch, "-timeout", "1s", "-grace", "10ms", "-max-attempts", "1")
    with site.daemon(*flags) as daemon:
        site.hand_over("intent-0.json", intent("first"))
        # The first one to fail cannot be told from one that hangs by itself.
        assert site.verdict("intent-0.json")["status"] == "timeout"
        site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(1, 9)})
        wait_until(lambda: daemon.has_said("the environment fails"), "the outage is noticed")
        outage.unlink()
        site.wait_for_final(9)
    assert site.counts() == {State.PUBLISHED: 8, State.TIMED_OUT: 1}


@pytest.mark.skipif(not landlock.abi(), reason="this kernel offers no Landlock")
def test_while_another_folder_stands_in_the_place_of_out_nothing_fails(site: Site) -> None:
    porch = site.porch('echo "$name" > "$out/$name"')
    del site.environment["CONDUCTOR_CHILD_WRITE"]
    crowd = {f"intent-{n}.json": intent(f"t{n}") for n in range(2)}
    with site.daemon("-porch", porch, "-sandbox", "landlock") as daemon:
        site.out.rename(site.top / "away")
        site.out.mkdir()
        site.hand_over_all(crowd)
        wait_for_outage(site, daemon, 2)
        assert "out_replaced: put it back" in site.command("health").stdout
        site.out.rmdir()
        (site.top / "away").rename(site.out)
        site.wait_for_final(2)
    assert site.counts() == {State.PUBLISHED: 2}
    assert sorted(os.listdir(site.out)) == sorted(crowd)


def test_intents_that_want_it_sooner_than_porch_takes_are_late_by_themselves(site: Site) -> None:
    porch = site.porch("exec /bin/sleep 1000")
    for n in range(2):
        site.hand_over_all({f"intent-{n}.json": intent(f"t{n}", timeout="50ms")})
    done = site.once("-porch", porch, "-timeout", "10s", "-grace", "10ms")
    assert "the environment fails" not in done.stderr
    assert site.counts() == {State.TIMED_OUT: 2}


def test_a_permanent_refusal_is_no_outage(site: Site) -> None:
    porch = site.porch('echo "$name" >> "$top/ledger"; exit 2')
    site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(10)})
    assert site.once("-porch", porch).returncode == 8
    assert len(site.ledger()) == 10
    assert site.counts() == {State.FAILED: 10}


# Views.


@pytest.fixture
def plain_site(open_site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """One of an ordinary user, whom the modes of folders bind."""
    if os.geteuid() == 0:
        be_ordinary(open_site, monkeypatch)
    return open_site


@pytest.mark.needs("setpriv")
def test_once_gives_up_on_a_folder_that_stays_closed_and_the_next_start_goes_on(
    plain_site: Site,
) -> None:
    site = plain_site
    site.hand_over_all({"intent-a.json": intent()})
    site.handoff.chmod(0o777)
    closing = site.porch('chmod 555 "$top/handoff/status"')
    done = site.once("-porch", closing, "-sandbox", "none", "-timeout", "1s")
    assert done.returncode == 1
    assert "cannot write verdicts or files: [Errno 30] a folder was closed" in done.stderr

    (site.handoff / "status").chmod(0o755)
    assert site.once("-porch", "builtin").returncode == 0
    assert site.verdict("intent-a.json")["status"] == "success"


def test_once_says_that_a_file_could_not_be_filed_and_files_it_when_it_can(site: Site) -> None:
    with site.daemon("-porch", "builtin"):
        site.pause()
        site.hand_over("intent-a.json", intent())
        own = f"intent-a.{site.intent_id('intent-a.json')}.json"
    for name in ("intent-a.json", own):
        (site.handoff / "processed" / name).write_text("in the way")
    site.command("resume")
    done = site.once("-porch", "builtin")
    assert done.returncode == 8
    assert "of 1 entry of the journal could not be written" in done.stderr

    (site.handoff / "processed" / own).unlink()
    assert site.once("-porch", "builtin").returncode == 0
    assert site.verdict("intent-a.json")["status"] == "success"
