"""What a newcomer meets: the commands of the README, on a machine that has little."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements-dev.lock").read_text()
NEW_ENOUGH = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an ordinary user can reach, which pytest's own are not under root."""
    folder = Path(tempfile.mkdtemp(prefix="conductor loop "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_as_ordinary_user(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run as `nobody` when we are root, else as who we are; the environment has next to nothing."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    for name, value in os.environ.items():
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            environment[name] = value
    identity = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        user=identity.pw_uid if identity else None,
        group=identity.pw_gid if identity else None,
        extra_groups=[] if identity else None,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def give_to_ordinary_user(folder: Path) -> None:
    """Make a tree the property of whom `run_as_ordinary_user` runs as."""
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.needs("git", "make")
def test_the_demo_runs_twice_in_a_fresh_clone_in_a_path_with_spaces_as_an_ordinary_user(
    open_folder: Path,
) -> None:
    if run_as_ordinary_user(["python3", "-c", NEW_ENOUGH], open_folder).returncode:
        pytest.skip("no Python 3.11 that an ordinary user can start")
    clone = open_folder / "a clone"
    # Without --no-hardlinks, the change of owner below would reach our own objects.
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, clone], check=True)
    give_to_ordinary_user(open_folder)

    first = run_as_ordinary_user(["make", "demo"], clone)
    second = run_as_ordinary_user(["make", "demo"], clone)

    assert first.returncode == 0, first.stdout + first.stderr
    assert second.returncode == 0, second.stdout + second.stderr
    assert "==> dependencies" in first.stdout
    assert "==> dependencies" not in second.stdout
    status = subprocess.run(
        ["git", "-c", "safe.directory=*", "status", "--porcelain"],
        cwd=clone,
        capture_output=True,
        text=True,
    )
    assert status.stdout == ""


@pytest.mark.needs("make", "awk")
def test_make_alone_lists_every_command() -> None:
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None

    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert re.findall(r"^  make ([a-z-]+)", listed.stdout, re.MULTILINE) == targets[1].split()


def folder_of_commands(folder: Path, *commands: str) -> Path:
    """Make a folder that can stand alone as PATH."""
    folder.mkdir()
    for command in commands:
        found = shutil.which(command)
        assert found is not None
        (folder / command).symlink_to(found)
    return folder


def test_an_old_python_is_refused_with_what_to_install(tmp_path: Path) -> None:
    commands = folder_of_commands(tmp_path / "bin", "sh", "dirname")
    old = commands / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    shutil.copytree(ROOT / ".ci", tmp_path / "clone" / ".ci")

    refused = subprocess.run(
        ["sh", ".ci/install"],
        cwd=tmp_path / "clone",
        env={"PATH": str(commands)},
        capture_output=True,
        text=True,
    )

    assert refused.returncode == 1
    assert "no Python 3.11 or newer" in refused.stderr
    assert "hint: install one" in refused.stderr
    assert not (tmp_path / "clone" / ".venv").exists()


def test_a_tool_that_cannot_be_installed_is_named_in_one_line(tmp_path: Path) -> None:
    commands = folder_of_commands(tmp_path / "bin", "sh", "dirname", "id")

    told = subprocess.run(
        ["sh", ROOT / ".ci" / "tools", "sh", "no-such-tool"],
        env={"PATH": str(commands)},
        capture_output=True,
        text=True,
    )

    assert told.returncode == 0
    assert told.stdout.count("\n") == 1
    assert "not installed: no-such-tool;" in told.stdout


def requirements(pyproject: Path) -> list[str]:
    """Names of what we depend on, to run and to develop."""
    document = tomllib.loads(pyproject.read_text())
    lines = document["project"]["dependencies"] + document["dependency-groups"]["dev"]
    lines += document["build-system"]["requires"]
    return [re.split(r"[<>=!~;\[ ]", line)[0].lower().replace("_", "-") for line in lines]


@pytest.mark.parametrize("name", requirements(ROOT / "pyproject.toml"))
def test_each_dependency_is_locked_with_hashes(name: str) -> None:
    assert re.search(
        rf"^{re.escape(name)}==\S+( ; [^\\\n]+)? \\\n    --hash=sha256:[0-9a-f]{{64}}",
        LOCK,
        re.MULTILINE,
    )


def test_the_lock_names_no_index() -> None:
    assert "://" not in LOCK
    assert "--index" not in LOCK


def test_the_scripts_of_the_repository_are_executable() -> None:
    for script in sorted((ROOT / ".ci").iterdir()):
        assert os.access(script, os.X_OK), script
