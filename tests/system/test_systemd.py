"""Under systemd: what the daemon tells it, the unit, and the installation."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from conductor_loop.adapters.systemd import installation
from conductor_loop.adapters.systemd.installation import UNIT, plan
from conductor_loop.adapters.systemd.notify import ServiceManager, service_manager
from conductor_loop.core.faults import CannotStart, UsageError
from conductor_loop.core.states import State
from tests.notify_socket import NotifySocket
from tests.system.daemon import Site, intent, wait_until

COMMAND = Path("/opt/conductor-loop/bin/conductor-loop")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket.beside(tmp_path) as listening:
        yield listening


def under(site: Site, manager: NotifySocket, **more: str) -> None:
    site.environment |= {"NOTIFY_SOCKET": manager.address, **more}


def test_it_says_ready_once_it_takes_files_and_stopping_when_asked_to_end(
    site: Site, manager: NotifySocket
) -> None:
    under(site, manager)
    with site.daemon() as daemon:
        manager.wait_for("READY=1")
        assert "STOPPING=1" not in manager.lines()
        assert daemon.stop() == 0
    manager.wait_for("STOPPING=1")
    assert manager.lines().count("READY=1") == 1
    assert "WATCHDOG=1" not in manager.lines()[manager.lines().index("READY=1") :]


def test_it_says_stopping_before_what_runs_has_ended(site: Site, manager: NotifySocket) -> None:
    under(site, manager)
    waits = 'echo "$name" >> "$top/ledger"; until [ -e "$top/go" ]; do /bin/sleep 0.02; done'
    porch = site.porch(waits)
    site.hand_over_all({"intent-a.json": intent()})
    with site.daemon("-porch", porch) as daemon:
        wait_until(lambda: bool(site.ledger()), "it runs")
        daemon.send(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert site.counts()[State.RUNNING] == 1
        (site.top / "go").touch()
        assert daemon.ended() == 0


def test_it_gives_signs_of_life_twice_as_often_as_asked(site: Site, manager: NotifySocket) -> None:
    under(site, manager, WATCHDOG_USEC="100000")
    with site.daemon():
        manager.wait_for("READY=1")
        manager.wait_for("WATCHDOG=1", times=5)


def test_a_frozen_daemon_gives_no_sign_of_life(site: Site, manager: NotifySocket) -> None:
    under(site, manager, WATCHDOG_USEC="20000")
    with site.daemon() as daemon:
        manager.wait_for("WATCHDOG=1", times=3)
        daemon.send(signal.SIGSTOP)
        state = Path(f"/proc/{daemon.pid}/stat")
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it stands")
        told = len(manager.lines())
        # Fifteen deadlines later there is still nothing: 30 signs of life are missing.
        subprocess.run(["sleep", "0.3"], check=True)
        assert len(manager.lines()) == told
        daemon.send(signal.SIGCONT)
        manager.wait_for("WATCHDOG=1", times=manager.lines().count("WATCHDOG=1") + 1)


def test_a_watchdog_meant_for_another_process_is_not_ours(manager: NotifySocket) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    ours = service_manager(environment, os.getpid())
    assert ours is not None
    assert ours.watchdog is None
    ours.close()


def test_without_systemd_nobody_is_told() -> None:
    assert service_manager({}, os.getpid()) is None


def test_a_socket_that_is_gone_or_full_stops_nobody(site: Site, tmp_path: Path) -> None:
    site.environment["NOTIFY_SOCKET"] = str(tmp_path / "nobody")
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once().returncode == 0


def test_an_abstract_address_is_understood() -> None:
    with NotifySocket(f"@conductor-loop-{os.getpid()}") as listening:
        ours = service_manager({"NOTIFY_SOCKET": listening.address}, os.getpid())
        assert ours is not None
        ours.stopping()
        ours.close()
        assert "STOPPING=1" in listening.lines()


def told_while(manager: NotifySocket, stuck: list[str]) -> list[str]:
    """What is told while the loops answer, in turn, who is stuck; then the watching ends."""

    class Over(Exception):
        pass

    def next_answer() -> str:
        if not stuck:
            raise Over
        return stuck.pop(0)

    ours = ServiceManager(manager.address, timedelta(milliseconds=2))
    with pytest.raises(Over):
        asyncio.run(ours.keep_informed(lambda: True, next_answer))
    ours.close()
    return manager.lines()


def test_while_a_loop_is_stuck_there_is_no_sign_of_life_but_a_word_why(
    manager: NotifySocket,
) -> None:
    told = told_while(manager, ["", "relay", "relay", ""])
    assert told == [
        "READY=1", "STATUS=takes files", "WATCHDOG=1",
        "STATUS=stuck: relay",
        "WATCHDOG=1", "STATUS=takes files",
    ]  # fmt: skip


def test_porch_cannot_speak_for_the_daemon(site: Site, manager: NotifySocket) -> None:
    under(site, manager)
    porch = site.porch('echo "<$NOTIFY_SOCKET>" >> "$top/ledger"')
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once("-porch", porch).returncode == 0
    assert site.ledger() == ["<>"]


def installed(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Install below a folder, the program being where all can see it."""
    words = ("install", "systemd", "--root", str(root), "--command", str(COMMAND), *words)
    command = [sys.executable, "-m", "conductor_loop", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=root)


def test_the_plan_comes_first_and_changes_nothing(tmp_path: Path) -> None:
    shown = installed(tmp_path)
    assert shown.returncode == 0
    assert f"write  {tmp_path}/etc/systemd/system/{UNIT}" in shown.stdout
    assert shown.stdout.endswith("nothing was done; add --yes to do it\n")
    assert list(tmp_path.iterdir()) == []


def test_with_yes_the_files_are_there_and_the_settings_can_be_loaded(tmp_path: Path) -> None:
    assert installed(tmp_path, "--instance", "site_a", "--yes").returncode == 0
    unit = (tmp_path / "etc/systemd/system" / UNIT).read_text()
    assert f"ExecStart={COMMAND} -config /etc/conductor-loop/%i.toml" in unit
    settings = tomllib.loads((tmp_path / "etc/conductor-loop/site_a.toml").read_text())
    assert settings["handoff"] == "/var/lib/conductor-loop/site_a/handoff"
    assert (tmp_path / "usr/lib/sysusers.d/conductor-loop.conf").exists()


def test_settings_that_are_there_are_kept(tmp_path: Path) -> None:
    mine = tmp_path / "etc/conductor-loop/default.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text('porch = "mine"\n')
    done = installed(tmp_path, "--yes")
    assert f"keep   {mine} as it is" in done.stdout
    assert mine.read_text() == 'porch = "mine"\n'


def test_the_plan_for_this_machine_ends_with_starting_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "BOOTED", tmp_path)
    described = [step.describe() for step in plan("site_a", Path("/bin/true"), Path("/"))]
    assert described[-3:] == [
        "run    systemd-sysusers conductor-loop.conf",
        "run    systemctl daemon-reload",
        "run    systemctl enable --now conductor-loop@site_a.service",
    ]


def test_without_systemd_it_refuses_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "BOOTED", tmp_path / "none")
    with pytest.raises(CannotStart, match="systemd does not run this machine") as refused:
        plan("default", COMMAND, Path("/"))
    assert refused.value.code == "no_systemd"
    assert "--root DIR" in refused.value.hint


def test_a_program_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "BOOTED", tmp_path)
    with pytest.raises(UsageError, match="cannot be run"):
        plan("default", Path("/opt/nowhere/conductor-loop"), Path("/"))


@pytest.mark.parametrize("name", ["", "a b", "../x", "a-b", "%i", "a" * 65])
def test_a_name_that_a_unit_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        plan(name, COMMAND, Path("/image"))


@pytest.mark.parametrize(
    "command",
    [
        "/home/me/venv/bin/conductor-loop",
        "/tmp/x/conductor-loop",
        "/opt/a b/conductor",
        "bin/conductor",
    ],
)
def test_a_command_that_the_hardened_unit_cannot_run_is_refused(command: str) -> None:
    with pytest.raises(UsageError, match=re.escape(command)):
        plan("default", Path(command), Path("/image"))


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    text = (Path(installation.__file__).parent / UNIT).read_text()
    instance = tmp_path / UNIT.replace("@", "@site_a")
    instance.write_text(text.replace("@COMMAND@", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", instance], capture_output=True, text=True
    )
    about_ours = [line for line in verified.stderr.splitlines() if "conductor-loop" in line]
    assert about_ours == []
    assert verified.returncode == 0


@pytest.mark.needs("systemd-analyze")
def test_systemd_rates_the_exposure_of_the_unit_as_low(tmp_path: Path) -> None:
    text = (Path(installation.__file__).parent / UNIT).read_text()
    instance = tmp_path / UNIT.replace("@", "@site_a")
    instance.write_text(text.replace("@COMMAND@", "/bin/true"))
    # Exposure times ten; 20 and less is what systemd itself calls OK.
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=25", instance],
        capture_output=True, text=True, env={**os.environ, "SYSTEMD_COLORS": "0"},
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-600:] + rated.stderr


def test_the_time_to_stop_is_above_the_grace_of_the_settings() -> None:
    text = (Path(installation.__file__).parent / UNIT).read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)
    assert stop is not None
    # The default of -grace, then five seconds for the views and five for a full disk.
    assert int(stop[1]) > 10 + 5 + 5
