"""The token of the control socket: another one each time, for nobody else, on a full disk too."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.control_socket import ControlRefused, ask
from conductor_loop.adapters.control_token import ControlToken, read_token
from conductor_loop.core.control import Health
from tests.own_mounts import run_in_own_mounts
from tests.system.daemon import Site

ON_A_FULL_DISK = """
import os
from conductor_loop.adapters.control_token import ControlToken, read_token
folder = os.open("state", os.O_RDONLY)
first = ControlToken(folder)
with open("state/filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(b"x" * 4096)
    except OSError:
        pass
before = read_token(folder)
second = ControlToken(folder)
now = read_token(folder)
assert before != now and second.is_known_to(now) and first.is_known_to(before)
assert sorted(os.listdir("state")) == ["control.token", "filler"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    handle = os.open(tmp_path, os.O_RDONLY)
    yield handle
    os.close(handle)


def test_each_start_has_another_token(folder: int) -> None:
    first = ControlToken(folder)
    before = read_token(folder)
    second = ControlToken(folder)

    assert first.is_known_to(before)
    assert not second.is_known_to(before)
    assert second.is_known_to(read_token(folder))


def test_nobody_else_may_read_it_whatever_the_umask(folder: int, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ControlToken(folder)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "control.token").stat().st_mode) == 0o600


def test_no_token_is_known_to_nobody(folder: int) -> None:
    assert not ControlToken(folder).is_known_to(b"")


@pytest.mark.needs("unshare")
def test_on_a_full_disk_it_takes_the_room_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    run_in_own_mounts("mount -t tmpfs -o size=64k none state", ON_A_FULL_DISK, tmp_path)


def test_a_command_that_finds_no_token_is_told_that_it_may_not_steer(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.daemon():
        (site.state / "control.token").unlink()

        health = site.command("health")
        assert (health.returncode, "does not let this command steer it" in health.stderr) == (
            1,
            True,
        )
        with pytest.raises(ControlRefused):
            ask(site.state, Health())
