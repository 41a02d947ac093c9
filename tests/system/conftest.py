"""Folders that several suites need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.system.daemon import Site


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
