"""More files than anybody reads (row 19 of the table); rates are in tests/system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.system.daemon import Daemon, Site, intent, wait_until

MANY = 100_000 if os.environ.get("THOROUGH") else 12_000
"""More than the queue holds; with THOROUGH=1 as many as the abuse table asks for."""
QUEUE = 10_000
"""Unfinished intents held at once (`WaitingPolicy.capacity`)."""


def unfinished(site: Site) -> int:
    """How many are admitted and not final."""
    counts = site.counts()
    return sum(counts[state] for state in (State.WAITING, State.RUNNING, State.BACKING_OFF))


def flood(site: Site, count: int) -> None:
    """Put tiny files into the folder, in place and as fast as it goes."""
    handle = os.open(site.handoff, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(count):
        name = f"intent-{number:06}.json"
        file = os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=handle)
        os.write(file, intent(f"t{number % 500}", replicas=number % 100))
        os.close(file)
    os.close(handle)


def watch_until_final(site: Site, daemon: Daemon, count: int, seconds: float) -> int:
    """Wait for all to be final, asking for its health meanwhile; the most it held at once."""
    most = 0

    def is_done() -> bool:
        nonlocal most
        assert daemon.is_alive
        assert site.command("health").stdout
        most = max(most, unfinished(site))
        return sum(site.counts().values()) == count and unfinished(site) == 0

    wait_until(is_done, f"{count} are final", seconds)
    return most


@pytest.mark.parametrize(
    "count", [1_000, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(3_600)])]
)
def test_row_19_a_flood_of_tiny_files_is_worked_off_while_health_answers(
    tmp_path: Path, count: int
) -> None:
    site = Site(tmp_path)
    with site.daemon("-workers", "auto") as daemon:
        flood(site, count)
        most = watch_until_final(site, daemon, count, 3_000)
    assert most <= QUEUE + 128
    assert sum(site.counts().values()) == count
    assert not [name for name in os.listdir(site.handoff) if name.startswith("intent-")]
