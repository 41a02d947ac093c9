"""`conductor-loop config` and SIGHUP: what changes live does, the rest is named."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.settings import LogLevel, Settings
from conductor_loop.settings.model import OPTIONS
from conductor_loop.settings.reloading import LIVE, Reloading
from tests.system.daemon import Daemon, Site, intent, wait_until


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def settings_file(site: Site) -> Path:
    folder = site.top / "settings"
    folder.mkdir()
    path = folder / "conductor.toml"
    path.write_text('log-level = "info"\n')
    return path


@pytest.fixture
def daemon(site: Site, settings_file: Path) -> Iterator[Daemon]:
    with site.daemon("-config", str(settings_file)) as running:
        yield running


def write(path: Path, text: str) -> None:
    """Replace it as an editor does: by another file of that name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


def test_a_new_log_level_holds_at_once(site: Site, daemon: Daemon, settings_file: Path) -> None:
    write(settings_file, 'log-level = "error"\n')
    done = site.command("config", "reload")
    assert (done.returncode, done.stdout) == (0, "changed: log-level\n")
    before = len(daemon.log())
    site.hand_over("intent-a.json", intent())
    site.wait_for_final(1)
    assert daemon.log()[before:] == []
    write(settings_file, 'log-level = "info"\n')
    assert site.command("config", "reload").returncode == 0
    site.hand_over("intent-b.json", intent("b"))
    wait_until(lambda: len(daemon.log()) > before + 1, "the log goes on")


def test_what_cannot_change_is_named_and_does_not(
    site: Site, daemon: Daemon, settings_file: Path
) -> None:
    write(settings_file, 'log-level = "warn"\nworkers = 7\ngrace = "9s"\n')
    told = site.asked("config", "reload")
    assert told["changed"] == ["log-level"]
    assert told["needs_restart"] == ["workers", "grace"]
    # Named again as long as it differs.
    assert site.asked("config", "reload")["needs_restart"] == ["workers", "grace"]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ('log-level = "loud"\n', "log-level"),
        ("log-level = \n", "is not TOML"),
        ('log-level = "error"\nworker = 3\n', "unknown key"),
    ],
)
def test_a_bad_file_changes_nothing(
    site: Site, daemon: Daemon, settings_file: Path, bad: str, told: str
) -> None:
    write(settings_file, bad)
    refused = site.command("config", "reload")
    assert refused.returncode == 1
    assert told in refused.stderr
    site.hand_over("intent-a.json", intent())
    wait_until(
        lambda: any(line.get("file.name") == "intent-a.json" for line in daemon.log()),
        "info lines are still written",
    )


def test_sighup_reads_again_and_is_on_record(
    site: Site, daemon: Daemon, settings_file: Path
) -> None:
    write(settings_file, 'log-level = "info"\nworkers = 5\n')
    daemon.send(signal.SIGHUP)
    wait_until(lambda: daemon.has_said("only at the next start: workers"), "it read again")
    write(settings_file, "nonsense\n")
    daemon.send(signal.SIGHUP)
    wait_until(lambda: daemon.has_said("the settings stay as they were"), "it refused")
    assert daemon.is_alive


def noticed(site: Site) -> int:
    """How often the daemon put on record that its settings changed."""
    return len(site.asked("audit", "show", "--action", "security.settings_reloaded"))


def test_reading_again_what_did_not_change_is_no_notice(
    site: Site, daemon: Daemon, settings_file: Path
) -> None:
    assert site.asked("config", "reload")["changed"] == []
    assert daemon.has_said("settings read again: nothing changed")
    write(settings_file, 'log-level = "error"\n')
    assert site.asked("config", "reload")["changed"] == ["log-level"]
    wait_until(lambda: noticed(site) > 0, "the change is on record")
    # They are recorded in order: one of the first reload would be there by now.
    assert noticed(site) == 1


def test_flags_go_over_the_file_also_when_it_is_read_again(site: Site, settings_file: Path) -> None:
    with site.daemon("-config", str(settings_file), "-log-level", "info") as running:
        write(settings_file, 'log-level = "error"\n')
        assert site.asked("config", "reload")["changed"] == []
        assert running.is_alive


def test_without_a_daemon_there_is_nothing_to_reload(site: Site) -> None:
    refused = site.command("config", "reload")
    assert refused.returncode == 1
    assert f"no daemon runs on {site.state}" in refused.stderr
    assert "-config FILE" in refused.stderr


def test_check_tells_every_mistake_and_starts_nothing(site: Site, settings_file: Path) -> None:
    assert site.command("config", "check", "-config", str(settings_file)).returncode == 0
    write(settings_file, 'log-level = "loud"\nworkers = 0\n')
    refused = site.command("config", "check", "-config", str(settings_file))
    assert refused.returncode == 2
    assert refused.stderr.count("ERROR") == 2
    assert not site.handoff.exists()


def test_show_tells_what_comes_of_flags_environment_and_file(
    site: Site, settings_file: Path
) -> None:
    write(settings_file, 'workers = 3\ntimeout = "9s"\n')
    site.environment["CONDUCTOR_TIMEOUT"] = "8s"
    shown = site.asked("config", "show", "-config", str(settings_file), "-grace", "7s")["settings"]
    assert (shown["workers"], shown["timeout"], shown["grace"]) == ("3", "8s", "7s")
    assert list(shown) == list(OPTIONS)


def test_the_live_ones_are_settings_and_apply_gets_nothing_else() -> None:
    assert set(LIVE) <= set(OPTIONS)
    applied: list[Settings] = []
    written = Settings(log_level=LogLevel.ERROR, workers=9)
    done = Reloading(Settings(), lambda: written, applied.append).reload()
    assert (done.changed, done.needs_restart) == (("log-level",), ("workers",))
    assert applied == [Settings(log_level=LogLevel.ERROR)]
