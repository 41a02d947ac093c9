"""What the doctor finds, and that it leaves everything as it was."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from conductor_loop.adapters.checkup import (
    Grade,
    check_events,
    check_folder,
    check_own_folders,
    check_porch,
    check_producer,
    check_state_disk,
)
from tests.system.daemon import Site, intent


def doctor(folder: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    """Run the command; return its exit status and the grade of each subject."""
    done = subprocess.run(
        [sys.executable, "-m", "conductor_loop", "doctor", "-json", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, {f["subject"]: f["grade"] for f in json.loads(done.stdout)}


def everything(folder: Path) -> list[tuple[str, int, int]]:
    """Names, modes and sizes below a folder."""
    return sorted(
        (str(path), path.lstat().st_mode, path.lstat().st_size if path.is_file() else 0)
        for path in folder.rglob("*")
    )


def test_a_machine_where_all_is_well_gets_status_0_and_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "handoff").mkdir()
    before = everything(tmp_path)

    status, grades = doctor(tmp_path, "-porch", "builtin")

    assert (status, set(grades.values())) == (0, {"ok"}), grades
    assert everything(tmp_path) == before


def test_a_missing_porch_makes_the_status_1(tmp_path: Path) -> None:
    status, grades = doctor(tmp_path, "-porch", "no-such-porch")

    assert (status, grades["porch"]) == (1, "bad")


def test_a_porch_is_named_by_path_and_hash() -> None:
    finding = check_porch("/bin/sh")

    assert finding.message.startswith("/bin/sh sha256:")


def test_a_folder_that_does_not_exist_yet_is_fine_where_it_can_be_made(tmp_path: Path) -> None:
    assert check_folder("handoff", tmp_path / "a" / "b").grade is Grade.OK


def test_a_file_in_place_of_a_folder_is_bad(tmp_path: Path) -> None:
    (tmp_path / "out").touch()

    assert check_folder("out", tmp_path / "out").grade is Grade.BAD


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_bad() -> None:
    assert check_folder("handoff", Path("/etc")).grade is Grade.BAD


def test_a_symlink_where_the_daemon_keeps_its_folders_is_bad(tmp_path: Path) -> None:
    (tmp_path / "failed").symlink_to("/tmp")

    assert [f.grade for f in check_own_folders(tmp_path)] == [Grade.BAD]


def test_a_canary_is_heard_on_this_disk_and_gone_afterwards(tmp_path: Path) -> None:
    assert check_events(tmp_path).grade is Grade.OK
    assert list(tmp_path.iterdir()) == []


def test_this_disk_is_local(tmp_path: Path) -> None:
    assert check_state_disk(tmp_path / "handoff" / ".conductor").grade is Grade.OK


def test_a_producer_needs_write_permission_in_the_folder(tmp_path: Path) -> None:
    handoff = tmp_path / "handoff"
    handoff.mkdir(mode=0o755)
    for folder in (handoff, *handoff.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)

    assert check_producer("nobody", handoff).grade is Grade.BAD
    handoff.chmod(0o777)
    assert check_producer("nobody", handoff).grade is Grade.OK


def test_an_unknown_producer_is_bad(tmp_path: Path) -> None:
    assert check_producer("no-such-user", tmp_path).grade is Grade.BAD


@pytest.mark.parametrize(
    ("switch", "subject"),
    [
        ("AUDIT_ENABLED", "audit log"),
        ("ENCRYPTION_ENABLED", "encryption"),
        ("SECURITY_ENABLED", "security"),
        ("SECURITY_ENABLED", "sandbox"),
    ],
)
def test_a_protection_that_is_switched_off_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str, subject: str
) -> None:
    monkeypatch.setenv(f"CONDUCTOR_{switch}", "false")

    status, grades = doctor(tmp_path, "-porch", "builtin")

    assert (status, grades[subject]) == (0, "warning")


def test_a_signing_key_that_others_can_read_is_bad(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", "builtin")
    status, grades = doctor(tmp_path, "-porch", "builtin")
    assert (status, grades["signing key"]) == (0, "ok")

    (site.state / "keys" / "signing.pem").chmod(0o644)

    status, grades = doctor(tmp_path, "-porch", "builtin")
    assert (status, grades["signing key"]) == (1, "bad")
