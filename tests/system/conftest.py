"""Folders that several suites need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import pytest

from tests.system.daemon import Site
from tests.system.divided import Divided


@pytest.fixture
def open_site() -> Iterator[Site]:
    """A folder that everybody can reach, for a porch that nothing but its user confines."""
    top = Path(mkdtemp(dir="/dev/shm"))
    top.chmod(0o755)
    site = Site(top)
    site.out.mkdir()
    site.out.chmod(0o777)
    yield site
    shutil.rmtree(top)


@pytest.fixture
def divided(tmp_path: Path) -> Divided:
    """An inbox, and three handoffs on its file system."""
    return Divided(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        if Path(folder).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("tmp_path and /dev/shm are one file system: nothing would be copied")
        yield Path(folder)
