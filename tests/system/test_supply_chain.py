"""What a release rests on: pinned actions, a wheel that can be built again, an honest audit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).parents[2]
WORKFLOWS = sorted((TOP / ".github/workflows").glob("*.yml"))
KNOWN = {"name": "apsw", "version": "3.50", "vulns": []}
SKIPPED = {"name": "rich", "skip_reason": "not found"}
BROKEN = {
    "name": "rich",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-0", "fix_versions": ["1.1"]}],
}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(workflow: Path) -> None:
    used = re.findall(r"uses: *(\S+)", workflow.read_text())
    assert used
    assert not [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_job_may_more_than_it_says(workflow: Path) -> None:
    described = yaml.safe_load(workflow.read_text())
    assert described["permissions"] == {}
    for job in described["jobs"].values():
        may_write = [what for what, level in job["permissions"].items() if level == "write"]
        runs_our_code = any("make" in step.get("run", "") for step in job["steps"])
        assert not (may_write and runs_our_code)


@pytest.mark.slow
def test_the_wheel_comes_out_the_same_when_built_again(tmp_path: Path) -> None:
    assert _built(tmp_path / "one", umask=0o022) == _built(tmp_path / "two", umask=0o077)


def _built(folder: Path, umask: int) -> bytes:
    source = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TOP, check=True, capture_output=True, text=True
    )
    for name in filter(None, files.stdout.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(TOP / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")],
        cwd=source,
        check=True,
        capture_output=True,
        umask=umask,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )
    (wheel,) = (folder / "dist").iterdir()
    return wheel.read_bytes()


def judged(tmp_path: Path, *packages: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
    report, log = tmp_path / "audit.json", tmp_path / "audit.log"
    report.write_text(json.dumps({"dependencies": packages}) if packages else "")
    log.write_text("connection refused\n")
    script = TOP / ".ci/vulnerabilities.py"
    return subprocess.run(
        [sys.executable, script, report, log], check=False, capture_output=True, text=True
    )


def test_a_known_vulnerability_fails_and_names_the_release_that_mends_it(tmp_path: Path) -> None:
    done = judged(tmp_path, KNOWN, BROKEN)
    assert done.returncode == 1
    assert "rich 1.0: PYSEC-0, mended in 1.1" in done.stdout


def test_packages_without_a_finding_pass(tmp_path: Path) -> None:
    done = judged(tmp_path, KNOWN)
    assert (done.returncode, done.stdout) == (
        0,
        "1 packages asked about, 0 known vulnerabilities\n",
    )


def test_a_package_that_could_not_be_asked_about_is_no_clean_one(tmp_path: Path) -> None:
    assert judged(tmp_path, KNOWN, SKIPPED).returncode == 1


@pytest.mark.parametrize("packages", [[], [SKIPPED]])
def test_a_service_out_of_reach_is_said_and_stops_nobody(
    tmp_path: Path, packages: list[Mapping[str, object]]
) -> None:
    done = judged(tmp_path, *packages)
    assert done.returncode == 0
    assert done.stdout.startswith("notice: the vulnerability service was not reached")
