"""Asking the kernel whether somebody still writes a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.handoff.writers import is_open_for_writing

OPEN_AGAIN_AND_AGAIN = """
import os, sys
for number in range(20_000):
    os.close(os.open(sys.argv[1], os.O_WRONLY))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    handle = os.open(tmp_path, os.O_RDONLY)
    yield handle
    os.close(handle)


def test_a_file_nobody_writes_is_not_open(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a").write_bytes(b"")
    with (tmp_path / "a").open("rb"):
        assert not is_open_for_writing(folder, b"a")


def test_a_file_somebody_writes_is_open(tmp_path: Path, folder: int) -> None:
    with (tmp_path / "a").open("ab"):
        assert is_open_for_writing(folder, b"a")
    assert not is_open_for_writing(folder, b"a")


def test_what_cannot_be_asked_counts_as_not_open(tmp_path: Path, folder: int) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "target").open("ab"):
        assert not is_open_for_writing(folder, b"link")
    for name in (b"gone", b"fifo"):
        assert not is_open_for_writing(folder, name)


def test_asking_leaves_no_descriptor_open(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a").write_bytes(b"")
    before = len(os.listdir("/proc/self/fd"))
    with (tmp_path / "a").open("ab"):
        is_open_for_writing(folder, b"a")
    is_open_for_writing(folder, b"a")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_writer_that_comes_in_the_very_moment_harms_nobody(tmp_path: Path, folder: int) -> None:
    """Breaking a lease signals its holder, with SIGIO unless told otherwise: that would kill."""
    (tmp_path / "a").write_bytes(b"")
    command = [sys.executable, "-c", OPEN_AGAIN_AND_AGAIN, str(tmp_path / "a")]
    with subprocess.Popen(command) as writer:
        while writer.poll() is None:
            is_open_for_writing(folder, b"a")
    assert writer.returncode == 0
