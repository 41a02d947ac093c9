"""Which file systems may hold a journal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from conductor_loop.adapters.handoff.file_system import magic_of, not_local

PROC, EXT, TMPFS, OVERLAY, XFS, BTRFS = (
    0x9FA0,
    0xEF53,
    0x01021994,
    0x794C7630,
    0x58465342,
    0x9123683E,
)


@pytest.mark.parametrize(
    ("magic", "kind"),
    [
        (0x6969, "NFS"),
        (0xFF534D42, "CIFS"),
        (0xFF534D42 - (1 << 32), "CIFS"),  # where a word is signed
        (0xFE534D42, "SMB2"),
        (0x01021997, "9p"),
        (0x65735546, "FUSE"),
        *((magic, None) for magic in (0, EXT, TMPFS, OVERLAY, XFS, BTRFS)),
    ],
)
def test_only_local_file_systems_may_hold_a_journal(magic: int, kind: str | None) -> None:
    assert not_local(magic) == kind


@pytest.mark.skipif(sys.platform != "linux", reason="statfs numbers are Linux's")
def test_the_kernel_tells_the_kind_of_an_open_folder(tmp_path: Path) -> None:
    handle = os.open("/proc", os.O_RDONLY)
    try:
        assert magic_of(handle) == PROC
    finally:
        os.close(handle)
