"""What all tests share: markers for tests that need a command, or too long for every run."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from hypothesis import settings

# A loaded machine is slow, not wrong; CI prints how to repeat what it found.
settings.register_profile("conductor", deadline=None, print_blob=True)
settings.load_profile("conductor")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers used by tests of more than one folder."""
    # A shell starts what runs in the background deaf to it, and so would be what we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What we start shall buffer as it does where users start it.
    os.environ.pop("PYTHONUNBUFFERED", None)
    for line in (
        "needs(*commands): skipped when one of the commands is missing; a failure when CI=true",
        "slow: takes minutes; runs when CI=true (`.ci/run`), else skipped",
    ):
        config.addinivalue_line("markers", line)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, or fail where it must be able to."""
    if not _in_ci() and item.get_closest_marker("slow"):
        pytest.skip("slow: run with CI=true")
    marker = item.get_closest_marker("needs")
    for command in marker.args if marker else ():
        if shutil.which(command) is None:
            give_up = pytest.fail if _in_ci() else pytest.skip
            give_up(f"{command} is not installed")


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"
