"""How the command ends when something below it fails."""

from __future__ import annotations

import errno
import os

import pytest

from conductor_loop.cli import main


def test_a_system_that_refuses_is_told_as_such_and_not_as_a_defect(
    capfd: pytest.CaptureFixture[str],
) -> None:
    refusal = OSError(errno.EIO, os.strerror(errno.EIO), "/data/handoff")

    status = main._told(refusal, as_json=False)

    told = capfd.readouterr().err
    assert status == 1
    assert "the system refused: [Errno 5] Input/output error: '/data/handoff'" in told
    assert "defect" not in told
