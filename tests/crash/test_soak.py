"""SIGKILL at random moments, a short form of what `make crash` does for longer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.scene import Scene, With
from tests.crash.soak import soak
from tests.crash.survivors import orphans_adopted

KILLS = 6


@pytest.mark.crash
@pytest.mark.parametrize("publisher", With)
def test_row_38_all_that_a_producer_noted_is_published_once_however_often_the_daemon_is_killed(
    tmp_path: Path, publisher: With
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")

    with orphans_adopted():
        told = soak(Scene(tmp_path / "scene", publisher), KILLS, seed)

    assert told.wrong == []
    assert told.ledger.total() > 0
