"""Which porch is run: the one that was there at start, that nobody else may replace."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
from pathlib import Path

import pytest

from conductor_loop.adapters.checkup import Grade, check_porch
from conductor_loop.adapters.porch.program import PorchCommand, who_may_replace
from conductor_loop.adapters.sandbox import landlock
from conductor_loop.core.events import Noticed
from conductor_loop.core.states import State
from tests.system.daemon import Daemon, Site, intent, wait_until

STRANGER = 54_329
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.hand_over_all({"intent-a.json": intent()})
    return site


def noticed(site: Site) -> list[str]:
    with site.journal() as reader:
        events = [entry.event for entry in reader.after(0, 1_000)]
    return [event.code for event in events if isinstance(event, Noticed)]


def health(site: Site) -> str:
    return site.command("health").stdout


def test_row_36_a_porch_swapped_under_the_daemon_holds_the_queue(site: Site) -> None:
    porch = Path(site.porch("echo first >> $top/ledger"))
    honest = porch.read_bytes()
    with site.daemon("-porch", str(porch)) as daemon:
        site.verdict("intent-a.json")
        porch.write_bytes(honest.replace(b"first", b"forged"))
        site.hand_over("intent-b.json", intent("upf"))
        wait_until(lambda: daemon.has_said("was changed under the running daemon"), "it is noticed")
        assert not site.is_healthy()
        assert "porch_changed: if that was meant, run conductor-loop resume" in health(site)
        wait_until(lambda: "porch_replaced" in noticed(site), "it is reported")
        porch.write_bytes(honest)
        assert site.verdict("intent-b.json")["status"] == "success"

    assert site.ledger() == ["first", "first"]


def swapped(site: Site, daemon: Daemon, porch: Path) -> str:
    """Put another program in the place of one that ran, wait until that is told; its SHA-256."""
    site.verdict("intent-a.json")
    porch.write_bytes(porch.read_bytes().replace(b"first", b"second"))
    site.hand_over("intent-b.json", intent("upf"))
    digest = hashlib.sha256(porch.read_bytes()).hexdigest()
    wait_until(lambda: daemon.has_said(f"its SHA-256 is {digest}"), "it is noticed")
    return digest


def test_row_36_whoever_resumes_accepts_the_new_porch_and_stands_for_it(site: Site) -> None:
    porch = Path(site.porch("echo first >> $top/ledger"))
    before = hashlib.sha256(porch.read_bytes()).hexdigest()
    with site.daemon("-porch", str(porch)) as daemon:
        now = swapped(site, daemon, porch)
        told = site.asked("resume", "-why", "porch upgraded")
        verdict = site.verdict("intent-b.json")
        assert site.is_healthy()
        assert site.verdict("intent-a.json")["porch_sha256"] == before
        shown = site.asked("audit", "show", "--action", "security.porch_accepted")

    assert told["accepted_porch_sha256"] == now
    assert (verdict["status"], verdict["porch_sha256"]) == ("success", now)
    assert site.ledger() == ["first", "second"]
    (record,) = shown
    assert record["resource"] == now
    assert record["details"] == {"previous": before, "why": "porch upgraded"}
    assert record["actor"]


def test_row_36_a_porch_that_nobody_was_told_of_is_not_accepted(site: Site) -> None:
    porch = Path(site.porch("echo first >> $top/ledger"))
    with site.daemon("-porch", str(porch)) as daemon:
        site.verdict("intent-a.json")
        site.pause()
        porch.write_bytes(porch.read_bytes().replace(b"first", b"forged"))
        site.hand_over("intent-b.json", intent("upf"))
        told = site.asked("resume")
        wait_until(lambda: daemon.has_said("was changed under the running daemon"), "it is noticed")

    assert told["accepted_porch_sha256"] is None
    assert site.ledger() == ["first"]


def test_row_36_what_is_pinned_is_not_overruled_by_resume(site: Site) -> None:
    porch = Path(site.porch("echo first >> $top/ledger"))
    honest = porch.read_bytes()
    pin = hashlib.sha256(honest).hexdigest()
    with site.daemon("-porch", str(porch), "-porch-sha256", pin) as daemon:
        swapped(site, daemon, porch)
        refused = site.command("resume")
        assert not site.is_healthy()
        porch.write_bytes(honest)
        assert site.verdict("intent-b.json")["status"] == "success"

    assert refused.returncode == 1
    assert "is not the pinned porch" in refused.stderr
    assert "porch_accepted" not in noticed(site)
    assert site.ledger() == ["first", "first"]


@pytest.mark.skipif(not landlock.abi(), reason="this kernel offers no Landlock")
def test_row_36_a_porch_that_the_sandbox_cannot_run_before_a_restart_is_not_accepted(
    site: Site,
) -> None:
    porch = Path(site.porch("exit 0"))  # beside the handoff: its folder is not open to it
    del site.environment["CONDUCTOR_CHILD_WRITE"]
    with site.daemon("-porch", str(porch)) as daemon:
        site.verdict("intent-a.json")
        Path(site.porch("exit 0; : another", name="newer")).rename(porch)
        site.hand_over("intent-b.json", intent("upf"))
        wait_until(lambda: daemon.has_said("was changed under the running daemon"), "it is noticed")
        assert "restart conductor-loop to run it" in health(site)
        refused = site.command("resume")
        assert "porch_accepted" not in noticed(site)

    assert refused.returncode == 1
    assert "restart conductor-loop to run it" in refused.stderr
    site.once("-porch", str(porch))
    assert site.verdict("intent-b.json")["status"] == "success"


@pytest.mark.skipif(not landlock.abi(), reason="this kernel offers no Landlock")
def test_row_36_a_copy_of_the_same_porch_that_the_sandbox_cannot_run_is_told_of(
    site: Site,
) -> None:
    porch = Path(site.porch("exit 0"))
    del site.environment["CONDUCTOR_CHILD_WRITE"]
    with site.daemon("-porch", str(porch)):
        site.verdict("intent-a.json")
        shutil.copy(porch, site.top / "copy")
        (site.top / "copy").rename(porch)
        site.hand_over("intent-b.json", intent("upf"))
        wait_until(lambda: "porch_out_of_reach" in health(site), "it is noticed")


def test_row_36_the_end_of_one_targets_pause_accepts_no_porch(site: Site) -> None:
    porch = Path(site.porch("echo first >> $top/ledger"))
    with site.daemon("-porch", str(porch)) as daemon:
        swapped(site, daemon, porch)
        told = site.asked("resume", "-target", "oran-sim/upf")
        assert not site.is_healthy()

    assert told["accepted_porch_sha256"] is None
    assert site.ledger() == ["first"]


def test_row_36_a_restart_takes_the_new_porch(site: Site) -> None:
    porch = Path(site.porch("echo first >> $top/ledger"))
    site.once("-porch", str(porch))
    site.hand_over("intent-b.json", intent("upf"))
    porch.write_bytes(porch.read_bytes().replace(b"first", b"second"))
    site.once("-porch", str(porch))

    assert site.ledger() == ["first", "second"]
    assert noticed(site).count("porch_other") == 1
    with site.journal() as reader:
        assert reader.state(site.intent_id("intent-b.json")) is State.PUBLISHED


def test_row_36_a_pinned_porch_is_run_and_no_other(site: Site) -> None:
    porch = site.porch("exit 0")
    digest = hashlib.sha256(Path(porch).read_bytes()).hexdigest()

    refused = site.once("-porch", porch, "-porch-sha256", "0" * 64)
    taken = site.once("-porch", porch, "-porch-sha256", digest)

    assert "porch_other" not in noticed(site)
    assert refused.returncode == 1
    assert "is not the pinned porch" in refused.stderr
    assert taken.returncode == 0


@pytest.mark.parametrize("what", ["porch", "folder"])
def test_row_36_a_porch_that_anybody_may_replace_is_refused(site: Site, what: str) -> None:
    folder = site.top / "bin"
    folder.mkdir()
    porch = folder / "porch"
    porch.write_text("#!/bin/sh\nexit 0\n")
    porch.chmod(0o755)
    (porch if what == "porch" else folder).chmod(0o777)

    done = site.once("-porch", str(porch))

    assert done.returncode == 1
    assert "writable by all" in done.stderr
    assert site.names_in("processed") == []


def own_folder(site: Site) -> Path:
    """A porch in a folder of its own."""
    folder = site.top / "bin"
    folder.mkdir()
    porch = folder / "porch"
    porch.write_text("#!/bin/sh\nexit 0\n")
    porch.chmod(0o755)
    return porch


def replaceable(site: Site) -> list[str]:
    """Who may replace porch, as the audit log tells it."""
    shown = site.asked("audit", "show", "--action", "security.porch_replaceable")
    return [record["resource"] for record in shown]


@as_root
@pytest.mark.parametrize("what", ["porch", "folder"])
def test_row_36_a_porch_that_belongs_to_a_stranger_is_run_and_told_of(
    site: Site, what: str
) -> None:
    porch = own_folder(site)
    path = porch if what == "porch" else porch.parent
    os.chown(path, STRANGER, STRANGER)

    assert site.once("-porch", str(porch)).returncode == 0
    assert replaceable(site) == [f"{path} belongs to uid:{STRANGER}"]


@as_root
def test_row_36_a_porch_that_a_group_of_others_may_write_to_is_run_and_told_of(site: Site) -> None:
    porch = own_folder(site)
    somebody = next(user for user in pwd.getpwall() if user.pw_uid not in (0, 65532))
    os.chown(porch, 0, somebody.pw_gid)
    porch.chmod(0o775)

    assert site.once("-porch", str(porch)).returncode == 0
    (told,) = replaceable(site)
    assert told.startswith(f"{porch} may be written by ")
    assert somebody.pw_name in told


@as_root
@pytest.mark.parametrize("gid", [0, STRANGER])
def test_row_36_a_group_without_others_in_it_is_nothing_to_tell(site: Site, gid: int) -> None:
    porch = own_folder(site)
    for path in (porch, porch.parent):
        os.chown(path, 0, gid)
        path.chmod(0o775)

    users = {0, os.geteuid()}
    assert who_may_replace(PorchCommand(os.fsencode(porch)), users) == []


@as_root
def test_row_36_of_a_pinned_porch_nobody_is_told_who_might_replace_it(site: Site) -> None:
    porch = own_folder(site)
    os.chown(porch, STRANGER, STRANGER)
    pin = hashlib.sha256(porch.read_bytes()).hexdigest()

    assert site.once("-porch", str(porch), "-porch-sha256", pin).returncode == 0
    assert replaceable(site) == []


@pytest.mark.parametrize("users", [{0, os.geteuid()}, {999_999}])
def test_the_doctor_tells_who_else_may_replace_porch(site: Site, users: set[int]) -> None:
    found = check_porch(str(own_folder(site)), users)

    assert found.grade is (Grade.OK if 0 in users else Grade.WARNING)
    assert ("belongs to" in found.message) is (0 not in users)


def test_the_doctor_refuses_a_porch_that_anybody_may_replace(site: Site) -> None:
    porch = own_folder(site)
    porch.chmod(0o777)

    assert check_porch(str(porch), {0, os.geteuid()}).grade is Grade.BAD


def layers_lost(site: Site) -> list[tuple[str, str]]:
    """Which confinement was lost, and what there was instead, as the audit log tells it."""
    shown = site.asked("audit", "show", "--action", "security.hardening_lost")
    return [(record["details"]["before"], record["details"]["now"]) for record in shown]


@pytest.mark.skipif(not landlock.abi(), reason="this kernel offers no Landlock")
def test_a_start_with_a_weaker_sandbox_than_the_last_one_is_told_of_once(open_site: Site) -> None:
    porch = open_site.porch("exit 0")
    open_site.handoff.mkdir()
    open_site.handoff.chmod(0o777)
    confined = f"landlock-{landlock.abi()}"
    open_site.once("-porch", porch)
    assert layers_lost(open_site) == []

    open_site.once("-porch", porch, "-sandbox", "none")
    open_site.once("-porch", porch, "-sandbox", "none")
    assert layers_lost(open_site) == [(confined, "none")]

    open_site.once("-porch", porch)
    assert layers_lost(open_site) == [(confined, "none")]


def test_row_36_a_porch_in_the_working_folder_is_not_found_by_name(site: Site) -> None:
    site.porch("exit 0")
    site.environment["PATH"] = f".:{site.environment['PATH']}"

    done = site.once("-porch", "porch")

    assert done.returncode == 1
    assert "executable file not found in $PATH" in done.stderr
