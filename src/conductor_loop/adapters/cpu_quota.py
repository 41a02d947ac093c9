"""How many CPUs this process may use: its affinity, bounded by the quotas of its control groups.

Version 2 keeps a quota in `cpu.max`, version 1 in `cpu.cfs_quota_us` and `cpu.cfs_period_us`
(cgroup-v2.rst and cgroup-v1 scheduler/sched-bwc.rst of the kernel).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted control group file system that can hold CPU quotas."""

    version: int
    root: str
    """The group that shows at `point`."""
    point: str


def allowed_cpus() -> int:
    """Whole CPUs that may be used, at least 1; a quota of 2.5 counts as 2."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cpus = os.cpu_count() or 1
    return max(1, int(min([float(cpus), *_quotas()])))


def cpu_mounts(mountinfo: str) -> list[Mount]:
    """Find the mounts in the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5))."""
    mounts = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            mounts.append(Mount(2, root, point))
        elif kind == "cgroup" and "cpu" in options.split(","):
            mounts.append(Mount(1, root, point))
    return mounts


def cpu_groups(memberships: str) -> dict[int, str]:
    """Read this process's group in each version from the text of `/proc/self/cgroup`."""
    groups = {}
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            groups[2] = path
        elif "cpu" in controllers.split(","):
            groups[1] = path
    return groups


def group_folders(mount: Mount, group: str) -> Iterator[Path]:
    """The folder of a group and those above it, up to the mount: each may hold a quota.

    A container may see the path of its group on the host, of which nothing is mounted; its own
    group is then what shows at the mount point.
    """
    path = PurePosixPath(group)
    inside = path.relative_to(mount.root) if path.is_relative_to(mount.root) else PurePosixPath()
    for part in (inside, *inside.parents):
        yield Path(mount.point, *(p for p in part.parts if p not in ("/", "..")))


def _quotas() -> Iterator[float]:
    try:
        mounts = cpu_mounts(Path("/proc/self/mountinfo").read_text(errors="replace"))
        groups = cpu_groups(Path("/proc/self/cgroup").read_text(errors="replace"))
    except OSError:  # no control groups here
        return
    for mount in mounts:
        for folder in group_folders(mount, groups.get(mount.version, "/")):
            quota = _quota(folder, mount.version)
            if quota is not None:
                yield quota


def _quota(folder: Path, version: int) -> float | None:
    """CPUs that a group may use; None without a limit, or where the folder holds none."""
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        # `max` in version 2 and -1 in version 1 mean no limit.
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError):
        return None
