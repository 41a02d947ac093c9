"""Pressure: told when it begins and when it is over; levels come from this very process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conductor_loop.adapters.pressure import disk_levels, levels
from conductor_loop.core.detection.pressure import Level, Pressure


def codes(*shares: float) -> list[list[str]]:
    pressure = Pressure()
    return [
        [code for code, _ in pressure.changes([Level("disk_pressure", "/data", share)])]
        for share in shares
    ]


def test_pressure_is_told_when_it_begins_and_when_it_is_over() -> None:
    assert codes(0.5, 0.95, 0.99, 0.5) == [[], ["disk_pressure"], [], ["pressure_over"]]


def test_a_level_that_trembles_is_told_once() -> None:
    assert codes(0.91, 0.89, 0.91, 0.85, 0.9) == [["disk_pressure"], [], [], [], []]


def test_two_disks_are_two_things() -> None:
    both = [Level("disk_pressure", "/a", 0.95), Level("disk_pressure", "/b", 0.95)]

    assert len(list(Pressure().changes(both))) == 2


def told(**fields: int) -> os.statvfs_result:
    names = "f_bsize f_frsize f_blocks f_bfree f_bavail f_files f_ffree f_favail f_flag f_namemax"
    return os.statvfs_result([fields.get(name, 0) for name in names.split()])


def test_room_that_root_keeps_for_itself_is_not_ours() -> None:
    (level,) = disk_levels("/data", told(f_blocks=100, f_bfree=10, f_bavail=5))

    assert level.used == pytest.approx(90 / 95)


def test_a_file_system_without_inodes_has_no_pressure_on_them() -> None:
    found = disk_levels("/data", told(f_blocks=100, f_bfree=50, f_bavail=50))

    assert [level.code for level in found] == ["disk_pressure"]


def test_each_file_system_is_looked_at_once_and_a_missing_folder_is_left_out(
    tmp_path: Path,
) -> None:
    found = list(levels([tmp_path / "not-made", tmp_path, tmp_path]))

    assert [level.subject for level in found if level.code == "disk_pressure"] == [str(tmp_path)]


def test_every_open_file_counts(tmp_path: Path) -> None:
    def used() -> float:
        return next(lv.used for lv in levels([tmp_path]) if lv.code == "descriptor_pressure")

    before = used()
    handles = [os.open(tmp_path, os.O_RDONLY) for _ in range(20)]
    try:
        assert used() > before
    finally:
        for handle in handles:
            os.close(handle)
