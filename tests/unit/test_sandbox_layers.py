"""Which layer of confinement is weaker than which."""

from __future__ import annotations

import pytest

from conductor_loop.core.sandbox import is_weaker


@pytest.mark.parametrize(
    ("layer", "than"),
    [
        ("none", "landlock-1"),
        ("none", "bwrap"),
        ("landlock-6", "landlock-7"),
        ("landlock-7", "landlock-7+no-tcp"),
        ("bwrap", "bwrap+no-network"),
        ("bwrap", "landlock-7+no-tcp"),
    ],
)
def test_what_confines_less_is_weaker_and_not_the_other_way_round(layer: str, than: str) -> None:
    assert is_weaker(layer, than)
    assert not is_weaker(than, layer)


@pytest.mark.parametrize(
    ("one", "other"),
    [("none", "none"), ("landlock-7", "landlock-7"), ("bwrap", "landlock-7"), ("what", "ever")],
)
def test_what_cannot_be_compared_is_not_weaker(one: str, other: str) -> None:
    assert not is_weaker(one, other)
    assert not is_weaker(other, one)
