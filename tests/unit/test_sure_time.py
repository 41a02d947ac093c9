"""How old something surely is, when the wall clock may have been set."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conductor_loop.core.sure_time import SureTime
from tests.fakes import BEGINNING


@pytest.mark.parametrize(
    ("wall", "steady", "surely"),
    [
        (0, 0, 0),
        (100, 100, 100),
        (3_650 * 86_400, 100, 100),
        (-86_400, 100, -86_400),
        (50, 100, 50),
    ],
)
def test_time_passes_no_faster_than_both_clocks_say(wall: int, steady: int, surely: int) -> None:
    time = SureTime(BEGINNING, 1_000.0)
    now = time.at(BEGINNING + timedelta(seconds=wall), 1_000.0 + steady)
    assert now == BEGINNING + timedelta(seconds=surely)
