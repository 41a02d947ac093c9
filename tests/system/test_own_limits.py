"""What the daemon may use up itself."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conductor_loop.adapters.own_limits import ENOUGH_DESCRIPTORS, MOST_DESCRIPTORS
from tests.system.daemon import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@contextmanager
def descriptors(soft: int, hard: int) -> Iterator[None]:
    """Let processes that are started meanwhile begin with these limits."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_files(pid: int) -> str:
    """The soft limit on open files of a process, as proc(5) has it."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max open files")).split()[3]


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="looks into /proc")
def test_the_daemon_takes_what_the_hard_limit_grants(site: Site) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with descriptors(256, hard), site.daemon() as daemon:
        granted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
        assert int(open_files(daemon.pid)) == min(granted, MOST_DESCRIPTORS)


def test_a_low_hard_limit_is_told_and_served_within(site: Site) -> None:
    site.before = ["sh", "-c", 'ulimit -n 200; exec "$@"', "sh"]
    done = site.command("-once", "-porch", "builtin")
    assert done.returncode == 0
    assert f"only 200 files may be open at a time, {ENOUGH_DESCRIPTORS} are wanted" in done.stderr


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into /proc")
def test_the_daemon_loads_nothing_for_connections_that_it_never_makes(site: Site) -> None:
    with site.daemon() as daemon:
        mapped = Path(f"/proc/{daemon.pid}/maps").read_text()

    assert "python" in mapped
    assert "_ssl" not in mapped
