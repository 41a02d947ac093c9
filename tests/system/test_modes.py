"""Permissions after a run: what is for others they may read, what is ours alone nobody else may."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.daemon import Site, intent

FILES = {
    "intent-a.json": intent("amf"),
    "intent-bad.json": b"{}",
}


def modes(top: Path, *, without: str = "") -> dict[str, int]:
    """The mode of everything below a folder, and of itself."""
    paths = [top, *sorted(top.rglob("*"))]
    return {
        path.relative_to(top.parent).as_posix(): stat.S_IMODE(path.lstat().st_mode)
        for path in paths
        if not without or without not in path.parts
    }


@pytest.fixture(params=[0o000, 0o022, 0o077])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A place to work in under some umask."""
    before = os.umask(request.param)
    yield Site(tmp_path)
    os.umask(before)


def worked(site: Site, *flags: str) -> None:
    """Let the daemon make every folder; then two intents come, and the first one again."""
    site.once(*flags)
    for name, body in FILES.items():
        site.hand_over(name, body)
        (site.handoff / name).chmod(0o644)
    site.once(*flags)
    site.hand_over("intent-a.json", intent("amf", replicas=2))
    (site.handoff / "intent-a.json").chmod(0o644)
    site.once(*flags)


def test_verdicts_error_logs_and_packages_are_0644_in_0755_and_all_else_ours_alone(
    site: Site,
) -> None:
    worked(site)
    for path, mode in modes(site.handoff, without=".conductor").items():
        is_folder = (site.top / path).is_dir()
        assert mode == (0o755 if is_folder else 0o644), path
    for path, mode in modes(site.out).items():
        assert mode == (0o755 if (site.top / path).is_dir() else 0o644), path
    # The package that was replaced waits there to be written over, with its modes.
    private = modes(site.state, without="staged")
    made = {path.partition("/")[2] for path in private}
    assert {"journal.db", "keys/signing.pem", "lock"} <= made
    for path, mode in private.items():
        assert mode == (0o700 if (site.handoff / path).is_dir() else 0o600), path


def test_the_modes_are_those_asked_for_whatever_the_umask(site: Site) -> None:
    worked(site, "-file-mode", "0640", "-dir-mode", "0750")
    for place in ("status", "status/history", "failed", "processed"):
        assert stat.S_IMODE((site.handoff / place).stat().st_mode) == 0o750
    for file in (*site.handoff.rglob("*.status"), *site.handoff.rglob("*.error.log")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o640, file
    for path, mode in modes(site.out).items():
        assert mode == (0o750 if (site.top / path).is_dir() else 0o640), path
    assert stat.S_IMODE((site.state / "keys" / "signing.pem").stat().st_mode) == 0o600


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (site.handoff / "failed").mkdir(parents=True)
    site.handoff.chmod(0o2775)
    (site.handoff / "failed").chmod(0o711)
    site.once()
    assert stat.S_IMODE(site.handoff.stat().st_mode) == 0o2775
    assert stat.S_IMODE((site.handoff / "failed").stat().st_mode) == 0o711
    assert stat.S_IMODE((site.handoff / "status").stat().st_mode) & 0o777 == 0o755


def test_a_mode_by_which_everybody_could_write_is_refused(tmp_path: Path) -> None:
    done = Site(tmp_path).once("-file-mode", "0666")
    assert done.returncode == 2
    assert "0666 would let everybody write" in done.stderr


def test_a_mode_by_which_the_group_could_write_is_taken_with_a_warning(tmp_path: Path) -> None:
    done = Site(tmp_path).once("-dir-mode", "0775")
    assert done.returncode == 0
    assert "-dir-mode 0775: whoever is in the group may change" in done.stderr


def test_out_of_an_external_porch_has_the_mode_too(tmp_path: Path) -> None:
    site = Site(tmp_path)
    before = os.umask(0o077)
    try:
        site.once("-porch", site.porch("exit 0"), "-dir-mode", "0750")
    finally:
        os.umask(before)
    assert stat.S_IMODE(site.out.stat().st_mode) == 0o750
