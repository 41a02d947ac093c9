"""The jail: what it shows, what it refuses, and what is said where it cannot be made."""

from __future__ import annotations

import os
import shutil
import site as python_site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

import conductor_loop
from tests.system.daemon import Site, intent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is Linux's")
ORDINARY_USER = 54322


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site of an ordinary user, with an interpreter that this user can reach."""
    top = Path(mkdtemp(dir="/dev/shm"))
    top.chmod(0o755)
    site = Site(top)
    if os.geteuid() == 0:
        be_ordinary(site, monkeypatch)
    site.environment["CONDUCTOR_CHILD_WRITE"] = ""
    site.flags = (*site.flags, "-sandbox", "bwrap")
    yield site
    shutil.rmtree(top)


def be_ordinary(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's own Python may be out of reach for others: then the system's will do."""
    sets = (f"--{kind}=-all" for kind in ("inh-caps", "ambient-caps", "bounding-set"))
    user = f"--reuid={ORDINARY_USER}", f"--regid={ORDINARY_USER}", "--clear-groups"
    site.before = ["setpriv", *user, *sets]
    os.chown(site.top, ORDINARY_USER, ORDINARY_USER)
    places = [str(Path(conductor_loop.__file__).parents[1]), *python_site.getsitepackages()]
    site.environment["PYTHONPATH"] = os.pathsep.join(places)
    wanted = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, shutil.which(wanted, path="/usr/bin:/usr/local/bin")):
        # By way of a shell: setpriv itself may still start what the user cannot.
        start = [*site.before, "/bin/sh", "-c", 'exec "$0" "$@"', python or "/nowhere"]
        ask = [*start, "-c", "import conductor_loop.wiring"]
        if subprocess.run(ask, env=site.environment, capture_output=True).returncode == 0:
            monkeypatch.setattr("tests.system.daemon.COMMAND", [*start, "-m", "conductor_loop"])
            site.before = []
            return
    pytest.skip("no Python here that an ordinary user can reach")


def run(site: Site, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    site.hand_over_all({"intent-a.json": intent()})
    site.handoff.chmod(0o777)
    return site.once("-porch", site.porch(script), *flags)


@pytest.mark.needs("bwrap", "setpriv")
def test_the_jail_shows_porch_nothing_of_the_daemon(site: Site) -> None:
    done = run(site, 'ls "$top" > $out/seen; ls /proc | grep -c "^[0-9]" > $out/processes')

    assert done.returncode == 0, done.stderr
    assert site.verdict("intent-a.json")["sandbox"] == "bwrap"
    assert "intent-a.json" not in (site.out / "seen").read_text()
    assert int((site.out / "processes").read_text()) < 10


@pytest.mark.needs("bwrap", "setpriv")
def test_row_34_handoff_and_state_are_not_there_in_the_jail(site: Site) -> None:
    tries = " ".join(
        f'cat "{path}" && echo "{path}" >> $out/reached;'
        for path in (site.handoff / "note", site.state / "journal.db", site.state / "keys")
    )
    site.hand_over_all({})
    (site.handoff / "note").write_text("mine")
    run(site, f"{tries} touch $out/tried; exit 0")

    assert (site.out / "tried").exists()
    assert not (site.out / "reached").exists()


@pytest.mark.needs("bwrap", "setpriv")
def test_in_a_jail_without_network_there_is_only_a_loopback(site: Site) -> None:
    run(site, "cat /proc/net/dev > $out/interfaces", "-sandbox-net", "none")

    assert site.verdict("intent-a.json")["sandbox"] == "bwrap+no-network"
    names = (site.out / "interfaces").read_text().splitlines()[2:]
    assert [name.partition(":")[0].strip() for name in names] == ["lo"]


@pytest.mark.needs("bwrap", "setpriv")
def test_the_switch_of_the_original_demands_the_jail(site: Site) -> None:
    site.flags = site.flags[:-2]
    site.environment["CONDUCTOR_CHROOT_ENABLED"] = "true"
    run(site, "exit 0")

    assert site.verdict("intent-a.json")["sandbox"] == "bwrap"


@pytest.mark.needs("bwrap", "setpriv")
def test_row_28_nobody_survives_in_the_jail(site: Site) -> None:
    run(site, "setsid sleep 54321 & exit 0")

    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"54321" not in path.read_bytes().split(b"\0")
        except OSError:
            continue


@pytest.mark.parametrize("demand", ["flag", "switch"])
def test_a_jail_that_is_demanded_and_cannot_be_made_stops_the_start(
    demand: str, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    flags = ("-sandbox", "bwrap") if demand == "flag" else ()
    if demand == "switch":
        site.environment["CONDUCTOR_CHROOT_ENABLED"] = "true"
    # Where there is no bwrap on PATH: only the shell that the porch needs.
    (tmp_path / "empty").mkdir()
    site.environment["PATH"] = str(tmp_path / "empty")
    site.hand_over_all({"intent-a.json": intent()})

    done = site.once("-porch", site.porch("exit 0"), *flags)

    assert done.returncode == 1
    assert "the jail is demanded" in done.stderr or "cannot work in" in done.stderr
    assert "hint: " in done.stderr
    assert site.names_in("processed") == []
    assert (site.handoff / "intent-a.json").exists()


def test_the_switch_and_another_layer_contradict_each_other(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.environment["CONDUCTOR_CHROOT_ENABLED"] = "true"

    done = site.once("-sandbox", "landlock")

    assert done.returncode == 2
    assert "CONDUCTOR_CHROOT_ENABLED" in done.stderr


@pytest.mark.parametrize("demand", ["switch", "bwrap", "landlock"])
def test_a_demanded_sandbox_is_never_dropped_with_the_security_switch(
    demand: str, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    site.environment["CONDUCTOR_SECURITY_ENABLED"] = "false"
    flags = () if demand == "switch" else ("-sandbox", demand)
    if demand == "switch":
        site.environment["CONDUCTOR_CHROOT_ENABLED"] = "true"
    site.hand_over_all({"intent-a.json": intent()})

    done = site.once("-porch", site.porch("exit 0"), *flags)

    assert done.returncode == 2
    assert "CONDUCTOR_SECURITY_ENABLED=false turns every one off" in done.stderr
    assert "hint: " in done.stderr
    assert (site.handoff / "intent-a.json").exists()


@pytest.mark.parametrize("demand", ["switch", "flag"])
def test_a_jail_is_refused_where_there_is_no_porch_to_put_into_it(
    demand: str, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    flags = ("-sandbox", "bwrap") if demand == "flag" else ()
    if demand == "switch":
        site.environment["CONDUCTOR_CHROOT_ENABLED"] = "true"

    done = site.once("-porch", "builtin", *flags)

    assert done.returncode == 2
    assert "-porch builtin runs no program to put into it" in done.stderr
    assert not site.handoff.exists()
