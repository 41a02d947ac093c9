"""Hostile files, folders and names, before and after the claim (rows 1 to 23 of the table)."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.abuse.attacked import SECRET, assert_refused, assert_serves
from tests.system.daemon import Daemon, Site, intent, wait_until


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o400)
    return path


def everything_below(*folders: Path) -> Iterator[bytes]:
    """The bytes of every regular file."""
    for folder in folders:
        for path in folder.rglob("*"):
            if stat.S_ISREG(path.lstat().st_mode):
                yield path.read_bytes()


def bytes_read(daemon: Daemon) -> int:
    """What its read system calls returned in all (`rchar` of proc(5))."""
    text = Path(f"/proc/{daemon.pid}/io").read_text()
    return int(text.partition("rchar:")[2].split()[0])


def test_row_01_what_a_symlink_leads_to_is_nowhere_afterwards(site: Site, secret: Path) -> None:
    with site.daemon() as daemon:
        (site.handoff / "intent-link.json").symlink_to(secret)
        (site.handoff / "intent-loop.json").symlink_to("intent-loop.json")
        (site.handoff / "intent-root.json").symlink_to("/")
        for name in ("intent-link.json", "intent-loop.json", "intent-root.json"):
            assert site.verdict(name)["error"]["code"] == "special_symlink"
        assert_serves(site, daemon)
    assert not any(SECRET in body for body in everything_below(site.handoff, site.out))
    assert secret.read_bytes() == SECRET


def test_row_02_a_hard_link_to_a_foreign_file_changes_nothing_about_it(
    site: Site, secret: Path
) -> None:
    before = secret.stat()
    with site.daemon() as daemon:
        os.link(secret, site.handoff / "intent-linked.json")
        verdict = site.verdict("intent-linked.json")
        assert (verdict["status"], verdict["error"]["code"]) == ("failed", "hard_linked")
        assert_serves(site, daemon)
    after = secret.stat()
    assert secret.read_bytes() == SECRET
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
    )
    texts = [p for p in (site.handoff / "status").iterdir() if p.is_file()]
    assert not any(SECRET in path.read_bytes() for path in texts)


def test_row_03_a_fifo_that_somebody_writes_to_blocks_nobody(site: Site) -> None:
    with site.daemon() as daemon:
        os.mkfifo(site.handoff / "intent-fifo.json")
        site.hand_over("intent-good.json", intent())
        assert site.verdict("intent-good.json")["status"] == "success"
        assert site.verdict("intent-fifo.json")["error"]["code"] == "special_fifo"
        assert_serves(site, daemon)


def test_row_03_a_device_is_set_aside_unopened(site: Site) -> None:
    with site.daemon() as daemon:
        try:
            os.mknod(site.handoff / "intent-zero.json", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("this container may not make devices")
        assert site.verdict("intent-zero.json")["error"]["code"] == "special_character_device"
        assert_serves(site, daemon)


def test_row_05_porch_gets_the_hashed_bytes_whatever_happens_to_the_file(site: Site) -> None:
    body = intent(replicas=3)
    porch = site.porch('cp "$2" "$top/seen"; [ -w "$2" ] || echo read-only >> "$top/ledger"')
    with site.daemon("-porch", porch):
        site.pause()
        site.hand_over("intent-a.json", body)
        intent_id = site.intent_id("intent-a.json")
        claimed = site.state / "claimed" / f"{intent_id}.intent-a.json"
        assert claimed.exists()
        claimed.write_bytes(intent(replicas=99))
        site.resume()
        assert site.verdict("intent-a.json")["status"] == "success"
    assert (site.top / "seen").read_bytes() == body


def test_row_08_a_handoff_folder_swapped_for_a_symlink_is_not_served(site: Site) -> None:
    elsewhere = site.top / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "intent-planted.json").write_bytes(intent("planted"))
    with site.daemon("-period", "50ms") as daemon:
        site.handoff.rename(site.top / "kept")
        site.handoff.symlink_to(elsewhere)
        wait_until(lambda: daemon.has_said("symlink"), "it is noticed")
        state = site.top / "kept" / ".conductor"
        site.state = state
        assert not site.is_healthy()
        assert os.listdir(elsewhere) == ["intent-planted.json"]
        site.handoff.unlink()
        (site.top / "kept").rename(site.handoff)
        site.state = site.handoff / ".conductor"
        wait_until(site.is_healthy, "it goes on in the folder that came back")
        assert_serves(site, daemon)


def replacements(site: Site) -> list[str]:
    """Why, of each notice that another folder had the name of one of ours."""
    shown = site.asked("audit", "show", "--action", "security.folder_replaced")
    assert {record["resource"] for record in shown} <= {str(site.handoff)}
    return [record["details"]["why"] for record in shown]


def test_row_08_a_swapped_handoff_folder_is_told_of_once_an_episode(site: Site) -> None:
    kept = site.top / "kept"

    def is_told(times: int) -> bool:
        actions = [line.get("event.action") for line in daemon.log()]
        return actions.count("folder_replaced") == times

    with site.daemon("-period", "20ms") as daemon:
        for episode in (1, 2):
            site.handoff.rename(kept)
            site.handoff.symlink_to(site.top / "elsewhere", target_is_directory=True)
            wait_until(partial(is_told, episode), "it is told")
            site.handoff.unlink()
            kept.rename(site.handoff)
            site.hand_over(f"intent-{episode}.json", intent())
            assert site.verdict(f"intent-{episode}.json")["status"] == "success"
        assert_serves(site, daemon)

    assert len(replacements(site)) == 2


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step, so that a daemon never sees neither (renameat2(2))."""
    names = os.fsencode(one), os.fsencode(other)
    assert ctypes.CDLL(None).renameat2(-100, names[0], -100, names[1], 2) == 0


def test_row_08_another_folder_in_place_of_the_handoff_is_told_of_though_it_is_served(
    site: Site,
) -> None:
    with site.daemon("-period", "20ms") as daemon:
        other = site.top / "other"
        other.mkdir()
        other.chmod(0o777)
        exchange(other, site.handoff)
        wait_until(lambda: daemon.has_said("opened again"), "it is noticed")
        wait_until(site.is_healthy, "it is served")

    assert replacements(site) == ["opened again, and served"]


@pytest.mark.parametrize("folder", ["status", "processed", "failed", ".conductor"])
def test_row_09_a_folder_of_ours_made_as_a_symlink_beforehand_stops_the_start(
    site: Site, folder: str
) -> None:
    site.handoff.mkdir()
    (site.top / "trap").mkdir()
    (site.handoff / folder).symlink_to(site.top / "trap")
    site.hand_over("intent-a.json", intent())
    done = site.once()
    assert done.returncode == 1
    assert "hint: " in done.stderr
    assert os.listdir(site.top / "trap") == []
    assert (site.handoff / "intent-a.json").exists()


def test_row_12_names_that_differ_in_case_or_normal_form_stay_two(site: Site) -> None:
    composed, decomposed = (unicodedata.normalize(form, "intent-ä.json") for form in ("NFC", "NFD"))
    names = ["intent-A.json", "intent-a.json", composed, decomposed]
    site.hand_over_all({name: intent(f"t{n}") for n, name in enumerate(names)})
    assert site.once().returncode == 0
    assert site.names_in("processed") == sorted(names)
    assert {site.verdict(name)["target"] for name in names} == {
        f"oran-sim/t{n}" for n in range(len(names))
    }


def test_row_17_what_is_too_large_is_refused_from_its_size_alone(site: Site) -> None:
    with site.daemon() as daemon:
        site.hand_over("intent-first.json", intent())
        site.verdict("intent-first.json")
        before = bytes_read(daemon)
        site.hand_over("intent-over.json", b" " * ((10 << 20) + 1))
        huge = site.top / "huge"
        huge.touch()
        os.truncate(huge, 1 << 40)
        huge.rename(site.handoff / "intent-huge.json")
        for name in ("intent-over.json", "intent-huge.json"):
            verdict = site.verdict(name)
            assert (verdict["status"], verdict["error"]["code"]) == ("failed", "too_large")
            assert "intent_sha256" not in verdict
        # Both together are more than a TiB; the journal and the log are read meanwhile.
        assert bytes_read(daemon) - before < 1 << 20
        assert (site.handoff / "failed" / "intent-huge.json").stat().st_size == 1 << 40
        assert_serves(site, daemon)


def test_row_17_a_file_of_exactly_the_limit_is_read(site: Site) -> None:
    body = intent()
    site.environment["CONDUCTOR_MAX_FILE_SIZE"] = str(len(body))
    site.hand_over_all({"intent-a.json": body, "intent-b.json": body + b" "})
    assert site.once().returncode == 8
    assert site.verdict("intent-a.json")["status"] == "success"
    assert site.verdict("intent-b.json")["error"]["code"] == "too_large"


def test_row_18_an_empty_file_waits_for_its_writer_and_then_fails(site: Site) -> None:
    with site.daemon("-debounce", "50ms") as daemon:
        (site.handoff / "intent-empty.json").touch()
        assert_refused(site, "intent-empty.json", b"", "json_empty")
        assert_serves(site, daemon)


def test_row_21_a_thousand_specials_of_one_name_are_all_kept(site: Site) -> None:
    with site.daemon("-period", "20ms"):
        link = site.handoff / "intent-odd.json"
        for number in range(1_000):
            draft = site.top / "draft"
            draft.symlink_to(f"nowhere-{number}")
            draft.rename(link)
            wait_until(lambda: not link.is_symlink(), "it is claimed")
        site.wait_for_final(1_000)
    kept = [folder / "intent-odd.json" for folder in (site.state / "quarantine").iterdir()]
    assert {os.readlink(path) for path in kept} == {f"nowhere-{n}" for n in range(1_000)}
    assert site.counts() == {State.QUARANTINED: 1_000}


def test_row_23_both_verdicts_of_a_name_can_be_proven(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent(replicas=1)})
    assert site.once().returncode == 0
    first = site.verdict("intent-a.json")
    site.hand_over_all({"intent-a.json": intent(replicas=2)})
    assert site.once().returncode == 0
    second = site.verdict("intent-a.json")
    assert first["intent_sha256"] != second["intent_sha256"]
    assert site.names_in("status/history") == [f"{first['intent_id']}.status"]
    assert site.command("verify", "--all").returncode == 0


@pytest.mark.parametrize("swap", ["fifo", "symlink", "gone"])
def test_row_05_a_file_swapped_again_and_again_never_shows_what_it_leads_to(
    site: Site, secret: Path, swap: str
) -> None:
    """Somebody replaces each file right after it was handed over, as fast as they can."""
    with site.daemon("-period", "20ms") as daemon:
        for number in range(200):
            name = site.handoff / f"intent-{number}.json"
            site.hand_over(name.name, intent(f"t{number}"))
            draft = site.top / "draft"
            if swap == "gone":
                name.unlink(missing_ok=True)
                continue
            if swap == "fifo":
                os.mkfifo(draft)
            else:
                draft.symlink_to(secret)
            draft.rename(name)
        assert_serves(site, daemon)
    assert not any(SECRET in body for body in everything_below(site.handoff, site.out))
    shutil.rmtree(site.out, ignore_errors=True)
