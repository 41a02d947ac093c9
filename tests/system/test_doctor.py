"""What the doctor finds, and that it leaves everything as it was."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from conductor_loop.adapters.checkup import (
    Grade,
    check_events,
    check_folder,
    check_own_folder,
    check_porch,
    check_producer,
    check_state_disk,
)
from conductor_loop.cli.main import main
from tests.system.daemon import Site, intent

NOBODY = 65534


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


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own when it is root that tests."""
    folder = Path(tempfile.mkdtemp(prefix="conductor-doctor-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def nobody_in(folder: Path) -> Iterator[None]:
    """Be an ordinary user, for whom permissions count and to whom a folder belongs."""
    user = os.geteuid()
    if user == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


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
    finding = check_porch("/bin/sh", {0})

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

    finding = check_own_folder(tmp_path / "failed")
    assert finding is not None
    assert finding.grade is Grade.BAD


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


@pytest.mark.parametrize("name", [".", "journal.db"])
def test_a_state_that_is_open_to_others_is_a_warning(tmp_path: Path, name: str) -> None:
    site = Site(tmp_path)
    site.once("-state-dir", "state")
    status, grades = doctor(tmp_path, "-porch", "builtin", "-state-dir", "state")
    assert (status, grades["state modes"]) == (0, "ok")

    (tmp_path / "state" / name).chmod(0o755)

    status, grades = doctor(tmp_path, "-porch", "builtin", "-state-dir", "state")
    assert (status, grades["state modes"]) == (0, "warning")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else")
def test_a_state_of_somebody_else_is_bad(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", NOBODY, NOBODY)

    status, grades = doctor(tmp_path, "-porch", "builtin", "-state-dir", "state")

    assert (status, grades["state modes"]) == (1, "bad")


def test_a_journal_that_names_no_key_yet_is_no_fault_of_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "handoff/.conductor/keys"
    keys.mkdir(parents=True)
    keys.chmod(0o700)
    (keys / "journal.kek").touch(0o600)

    flags = ("-handoff", str(tmp_path / "handoff"), "-out", str(tmp_path / "out"))
    found = findings(capsys, *flags)

    assert found["signing key"]["grade"] == "ok"
    assert found["signing key"]["message"] == "one will be made at start"


def test_a_given_key_that_no_start_has_recorded_yet_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    monkeypatch.setenv("CONDUCTOR_KEY_FILE", str(path))

    found = findings(capsys, "-handoff", str(tmp_path / "in"), "-out", str(tmp_path / "out"))

    assert found["signing key"]["grade"] == "ok"


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, str]]:
    """Run the command in this process; what it finds, by subject."""
    capsys.readouterr()
    main(["doctor", "-json", "-porch", "builtin", *arguments])
    told = capsys.readouterr()
    assert told.err == ""
    return {each["subject"]: each for each in json.loads(told.out)}


def test_a_state_dir_that_is_closed_is_bad_and_all_else_is_told(
    open_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, closed = open_folder / "work", open_folder / "closed"
    flags = ("-handoff", str(work / "handoff"), "-out", str(work / "out"))
    work.mkdir()
    closed.mkdir(mode=0)
    # Whoever is nobody may be unable to import anything more; a folder has it all tried.
    findings(capsys, "-handoff", str(open_folder))
    findings(capsys, *flags)
    with nobody_in(work):
        (work / "handoff").mkdir()
        well = findings(capsys, *flags)
        found = findings(capsys, *flags, "-state-dir", str(closed / "state"))
    closed.chmod(0o700)

    bad = {subject for subject, each in found.items() if each["grade"] == "bad"}
    assert bad == {
        "state dir",
        "state modes",
        "state disk",
        "journal",
        "signing key",
        "encryption",
        "daemon",
    }
    assert all(str(closed / "state") in found[subject]["message"] for subject in bad)
    assert all("Permission denied" in found[subject]["message"] for subject in bad)
    assert all(found[subject]["hint"] for subject in bad)
    assert {s: each["grade"] for s, each in well.items() if s not in bad} == {
        s: each["grade"] for s, each in found.items() if s not in bad
    }


def test_a_path_that_even_root_cannot_look_at_is_bad_and_all_else_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    flags = ("-handoff", str(tmp_path / "handoff"), "-state-dir", str(tmp_path / "state"))

    found = findings(capsys, *flags, "-out", str(loop))

    bad = {subject for subject, each in found.items() if each["grade"] == "bad"}
    assert bad == {"out", "devices", "room for out"}
    assert all(str(loop) in found[subject]["message"] for subject in bad)
    assert found["daemon"]["message"] == "none runs here"


def test_a_schema_that_no_start_would_take_is_bad(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "no such type"}')
    (tmp_path / "conductor.toml").write_text('schema = "schema.json"\n')
    status, grades = doctor(tmp_path, "-porch", "builtin", "-config", "conductor.toml")
    assert (status, grades["schema"]) == (1, "bad")


def served(site: Site) -> None:
    """Have a daemon make everything, journal and keys included."""
    site.hand_over_all({"intent-a.json": intent()})
    done = site.once("-porch", "builtin")
    assert done.returncode == 0, done.stderr


def test_a_journal_that_is_gone_is_bad(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert doctor(tmp_path, "-porch", "builtin")[1]["journal"] == "ok"
    served(site)
    status, grades = doctor(tmp_path, "-porch", "builtin")
    assert (status, grades["journal"]) == (0, "ok")

    (site.state / "journal.db").rename(tmp_path / "aside.db")
    told = {each["subject"]: each for each in doctor_of(tmp_path)}
    assert told["journal"]["grade"] == "bad"
    assert "state rebuild" in told["journal"]["hint"]
    assert not (site.state / "journal.db").exists()

    (site.state / "journal.db").touch(0o600)
    status, grades = doctor(tmp_path, "-porch", "builtin")
    assert (status, grades["journal"], grades["encryption"]) == (1, "bad", "ok")


def test_a_running_daemon_is_asked_what_it_does_whatever_the_shell_has(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for switch in ("AUDIT", "ENCRYPTION", "SECURITY"):
        site.environment[f"CONDUCTOR_{switch}_ENABLED"] = "false"
    with site.daemon("-http", "127.0.0.1:0") as daemon:
        told = {each["subject"]: each for each in doctor_of(tmp_path)}

    subjects = ("audit log", "security", "encryption")
    assert {told[subject]["grade"] for subject in subjects} == {"warning"}
    assert f"pid {daemon.pid}" in told["security"]["message"]
    assert "the settings here say otherwise" in told["audit log"]["message"]
    assert "in clear" in told["encryption"]["message"]
    assert "page http://127.0.0.1:" in told["ports"]["message"]


def test_the_porch_of_a_running_daemon_is_not_looked_for_in_the_settings_here(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    with site.daemon() as daemon:
        done = site.command("doctor")
        told = {each["subject"]: each for each in site.asked("doctor")}
    assert done.returncode == 0, done.stdout
    assert told["porch"]["grade"] == "ok"
    assert told["porch"]["message"] == f"built in (says the daemon that runs, pid {daemon.pid})"

    with site.daemon("-porch", site.porch("exit 0")):
        absent = {each["subject"]: each for each in site.asked("doctor", "-porch", "no-such-porch")}
        other = {each["subject"]: each for each in site.asked("doctor", "-porch", "builtin")}
    assert absent["porch"]["grade"] == other["porch"]["grade"] == "warning"
    assert "the settings given here" in absent["porch"]["message"]
    assert "a command, not the one built in" in other["porch"]["message"]
    assert "-porch" in absent["porch"]["hint"]


def test_nobody_is_told_to_remove_a_folder_that_may_hold_journal_and_keys(
    open_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    site = Site(open_folder)
    served(site)
    flags = ("-handoff", str(site.handoff), "-out", str(site.out))
    findings(capsys, *flags)
    os.seteuid(NOBODY)
    try:
        found = findings(capsys, *flags, "-run-as", "nobody")
    finally:
        os.seteuid(0)
    owners = found["owners"]
    assert (owners["grade"], "remove" in owners["hint"]) == ("bad", False)
    assert "keep it" in owners["hint"]


def doctor_of(folder: Path, *arguments: str) -> list[dict[str, str]]:
    """Run the command in its own process with nothing set; its findings."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("CONDUCTOR_")}
    done = subprocess.run(
        [sys.executable, "-m", "conductor_loop", "doctor", "-json", "-porch=builtin", *arguments],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return list(json.loads(done.stdout))


def test_the_layer_is_the_one_that_the_running_daemon_reached(open_site: Site) -> None:
    open_site.handoff.mkdir()
    open_site.handoff.chmod(0o777)
    with open_site.daemon("-porch", open_site.porch("exit 0"), "-sandbox", "none"):
        told = {each["subject"]: each for each in doctor_of(open_site.top)}

    assert told["sandbox"]["grade"] == "warning"
    assert told["sandbox"]["message"].startswith("none is reached (says the daemon")


def test_a_journal_in_clear_is_said_to_be_in_clear_and_left_as_it_is(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.environment["CONDUCTOR_ENCRYPTION_ENABLED"] = "false"
    served(site)
    before = everything(tmp_path)
    told = {each["subject"]: each for each in doctor_of(tmp_path)}

    assert told["encryption"]["grade"] == "warning"
    assert "the journal is in clear" in told["encryption"]["message"]
    assert everything(tmp_path) == before


def test_a_key_encryption_key_that_others_can_read_is_bad(tmp_path: Path) -> None:
    site = Site(tmp_path)
    served(site)
    status, grades = doctor(tmp_path, "-porch", "builtin")
    assert (status, grades["journal key"], grades["encryption"]) == (0, "ok", "ok")

    (site.state / "keys" / "journal.kek").chmod(0o644)

    status, grades = doctor(tmp_path, "-porch", "builtin")
    assert (status, grades["journal key"]) == (1, "bad")


def test_a_named_key_encryption_key_is_looked_at_before_there_is_a_journal(tmp_path: Path) -> None:
    kek = tmp_path / "kek"
    kek.write_text("ab" * 32)
    kek.chmod(0o644)

    status, grades = doctor(tmp_path, "-porch", "builtin", "-kek-file", str(kek))
    assert (status, grades["journal key"]) == (1, "bad")


def test_a_porch_that_is_not_the_pinned_one_is_bad(tmp_path: Path) -> None:
    site = Site(tmp_path)
    porch = site.porch("exit 0")
    status, grades = doctor(tmp_path, "-porch", porch)
    assert (status, grades["porch"]) == (0, "ok")

    status, grades = doctor(tmp_path, "-porch", porch, "-porch-sha256", "0" * 64)
    assert (status, grades["porch"]) == (1, "bad")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
@pytest.mark.parametrize("name", [".conductor", ".conductor/claimed", ".conductor/quarantine"])
def test_a_private_folder_of_a_stranger_is_bad(open_folder: Path, name: str) -> None:
    site = Site(open_folder)
    site.handoff.mkdir()
    os.chown(site.handoff, NOBODY, NOBODY)
    served(site)
    status, grades = doctor(open_folder, "-porch", "builtin")
    assert (status, grades["owners"]) == (0, "ok")

    os.chown(site.handoff / name, 4242, 4242)

    status, grades = doctor(open_folder, "-porch", "builtin")
    assert (status, grades["owners"]) == (1, "bad")
    assert site.once().returncode == 1
