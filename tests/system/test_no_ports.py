"""The network, which nothing here touches unless it is told to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.daemon import Site

TABLES = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
_INODE = 9  # proc_net_tcp(5): the tenth column


def sockets_of(pid: int) -> set[str]:
    """The inodes of all sockets that a process holds."""
    links = [
        os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()
    ]
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def network_inodes(pid: int) -> set[str]:
    """The inodes of all sockets of the network, not of the machine alone."""
    rows = [
        line.split()
        for table in TABLES
        if (path := Path(f"/proc/{pid}/net/{table}")).exists()
        for line in path.read_text().splitlines()[1:]
    ]
    return {row[_INODE] for row in rows}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into /proc")
def test_without_a_flag_nothing_of_the_daemon_listens_on_any_network(site: Site) -> None:
    with site.daemon() as daemon:
        held = sockets_of(daemon.pid)
        assert held, "the control socket at least"
        assert not held & network_inodes(daemon.pid)
