"""Scripts run where they may mount: as root of a user namespace of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[1]


def run_in_own_mounts(mounts: str, script: str, folder: Path) -> None:
    """Run shell lines that mount, then a Python script, in a folder; the script's asserts count."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody unshare mounts")
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-ec", f'{mounts}\nexec "$@"', "sh", sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
