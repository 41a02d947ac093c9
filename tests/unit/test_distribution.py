"""Dividing by target: always the same place, evenly, with few moves, and in order."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.arrival import Arrival, Content, HardLinked, Special, TooLarge
from conductor_loop.core.distribution import (
    TICK_SECONDS,
    Lines,
    Parcel,
    key_of,
    ordinal_of,
    parcel_of,
)
from conductor_loop.core.events import Receipt
from tests.system.daemon import intent

KEYS = st.binary(max_size=40)
COUNTS = st.integers(1, 20)
MANY = [key_of("oran-sim", f"amf-{n}") for n in range(3_000)]


def arrival(content: Content | Special | TooLarge | HardLinked, name: bytes) -> Arrival:
    return Arrival("ID", Receipt(name, datetime.now(UTC)), content)


def parcel(name: str, key: str = "n/a") -> Parcel:
    return Parcel(f"id-{name}", name.encode(), key.encode())


@given(KEYS, COUNTS)
def test_a_key_has_one_place_among_those_there_are(key: bytes, count: int) -> None:
    assert ordinal_of(key, count) in range(count)
    assert ordinal_of(key, count) == ordinal_of(bytes(bytearray(key)), count)


@given(KEYS, COUNTS)
def test_a_further_place_takes_keys_and_moves_none_between_others(key: bytes, count: int) -> None:
    assert ordinal_of(key, count + 1) in {ordinal_of(key, count), count}


def test_the_choice_is_the_same_in_every_release() -> None:
    # Another function would be another division: intents of a target could overtake each other.
    keys = [key_of("oran-sim", target) for target in ("amf", "smf", "upf", "nrf", "cnf-simulator")]
    assert [ordinal_of(key, 3) for key in keys] == [2, 1, 0, 0, 0]
    assert [ordinal_of(key, 16) for key in keys] == [13, 14, 4, 9, 3]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_targets_are_spread_evenly_and_a_further_place_takes_its_share(count: int) -> None:
    shares = Counter(ordinal_of(key, count) for key in MANY)
    fair = len(MANY) / count
    assert all(0.85 * fair < shares[ordinal] < 1.15 * fair for ordinal in range(count))
    moved = sum(ordinal_of(key, count) != ordinal_of(key, count + 1) for key in MANY)
    assert 0.8 < moved / (len(MANY) / (count + 1)) < 1.2


def test_an_intent_goes_by_its_target_whatever_else_is_in_it() -> None:
    one = parcel_of(arrival(Content(intent("amf", 3)), b"intent-a.json"))
    other = parcel_of(arrival(Content(intent("amf", -7, priority=9)), b"intent-b.json"))
    assert one.key == other.key == key_of("oran-sim", "amf")


@pytest.mark.parametrize(
    "content",
    [
        Content(b"{"),
        Content(b"[]"),
        Content(intent("../etc")),
        Content(b'{"namespace": "n", "namespace": "m", "target": "t"}'),
        TooLarge(1),
        HardLinked(2),
        Special("symlink"),
    ],
)
def test_what_has_no_legible_target_goes_by_its_name(
    content: Content | Special | TooLarge | HardLinked,
) -> None:
    assert parcel_of(arrival(content, b"intent-a.json")).key == b"intent-a.json"


def test_one_line_is_passed_on_in_order_and_a_held_head_holds_it_alone() -> None:
    lines = Lines()
    for each in (first := parcel("1"), second := parcel("2"), other := parcel("3", "n/b")):
        lines.add(each)
    assert lines.heads(0.0) == [first, other]
    lines.hold(first, until=5.0)
    lines.passed(other, 0.0)
    assert lines.heads(4.9) == []
    assert lines.next_due() == 5.0
    assert lines.are_held
    lines.passed(first, 5.0)
    assert lines.heads(5.0) == [second]
    assert (len(lines), lines.are_held) == (1, False)


def test_a_name_that_sorts_before_its_predecessor_waits_for_the_next_tick() -> None:
    lines = Lines()
    lines.add(late := parcel("b"))
    lines.passed(late, 1.0)
    lines.add(early := parcel("a"))
    assert lines.heads(1.0) == []
    assert lines.next_due() == 1.0 + TICK_SECONDS
    assert lines.heads(1.0 + TICK_SECONDS) == [early]
    lines.passed(early, 2.0)
    lines.add(after := parcel("b"))
    assert lines.heads(2.0) == [after]


def test_what_was_passed_on_long_ago_is_not_remembered() -> None:
    lines = Lines()
    for n in range(10_000):
        lines.add(each := parcel("a", f"n/{n}"))
        lines.passed(each, float(n))
    assert len(lines._last) < 5_000
