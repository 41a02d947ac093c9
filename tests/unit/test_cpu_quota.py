"""CPU quotas: what the kernel's texts mean, and one real control group where we may make one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.cpu_quota import (
    Mount,
    allowed_cpus,
    cpu_groups,
    cpu_mounts,
    group_folders,
)

V1_CPU = Path("/sys/fs/cgroup/cpu")


@pytest.mark.parametrize(
    ("line", "mounts"),
    [
        (
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate",
            [Mount(2, "/", "/sys/fs/cgroup")],
        ),
        (
            "32 31 0:29 /docker/a /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct",
            [Mount(1, "/docker/a", "/sys/fs/cgroup/cpu,cpuacct")],
        ),
        ("34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset", []),
        ("33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct", []),
        ("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw", []),
    ],
)
def test_only_mounts_that_can_hold_a_cpu_quota_count(line: str, mounts: list[Mount]) -> None:
    assert cpu_mounts(line + "\n") == mounts


def test_the_group_is_told_for_each_version() -> None:
    text = "9:name=systemd:/\n3:cpuset:/set\n2:cpu,cpuacct:/one\n0::/two:with:colons\n"
    assert cpu_groups(text) == {1: "/one", 2: "/two:with:colons"}


@pytest.mark.parametrize(
    ("root", "group", "folders"),
    [
        ("/", "/a/b", ["/m/a/b", "/m/a", "/m"]),
        ("/", "/", ["/m"]),
        ("/docker/x", "/docker/x/y", ["/m/y", "/m"]),
        ("/docker/x", "/docker/x", ["/m"]),
        ("/docker/x", "/kubepods/z", ["/m"]),
        ("/", "/../../outside", ["/m/outside", "/m"]),
    ],
)
def test_a_group_and_those_above_it_may_hold_the_quota(
    root: str, group: str, folders: list[str]
) -> None:
    found = [str(folder) for folder in group_folders(Mount(2, root, "/m"), group)]
    assert list(dict.fromkeys(found)) == folders


def test_at_least_one_cpu_and_no_more_than_the_affinity_is_allowed() -> None:
    assert 1 <= allowed_cpus() <= len(os.sched_getaffinity(0))


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """A control group of version 1 that may use half a CPU."""
    group = V1_CPU / f"conductor-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    group.rmdir()


def test_a_real_quota_of_half_a_cpu_counts_as_one(limited_group: Path) -> None:
    program = "from conductor_loop.adapters.cpu_quota import allowed_cpus; print(allowed_cpus())"
    inside = f"echo $$ > '{limited_group}/cgroup.procs' && exec '{sys.executable}' -c '{program}'"
    done = subprocess.run(["sh", "-c", inside], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")
