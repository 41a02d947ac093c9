"""Ids: the form of the ULID specification, and their order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.identity import UlidSequence, is_ulid, ulid

MILLISECONDS = st.integers(0, 2**48 - 1)
ENTROPY = st.integers(0, 2**80 - 1)


@pytest.mark.parametrize(
    ("milliseconds", "entropy", "text"),
    [
        (0, 0, "0" * 26),
        (2**48 - 1, 2**80 - 1, "7" + "Z" * 25),
        (1, 0, "0000000001" + "0" * 16),
        (0, 1, "0" * 25 + "1"),
        # The time part of the example in the specification's README.
        (1469918176385, 0, "01ARYZ6S41" + "0" * 16),
    ],
)
def test_an_id_has_the_form_of_the_specification(
    milliseconds: int, entropy: int, text: str
) -> None:
    assert ulid(milliseconds, entropy) == text
    assert is_ulid(text)


@given(MILLISECONDS, ENTROPY, MILLISECONDS, ENTROPY)
def test_ids_sort_by_time_then_entropy(one: int, low: int, other: int, high: int) -> None:
    assert (ulid(one, low) < ulid(other, high)) == ((one, low) < (other, high))


@given(st.lists(st.tuples(st.integers(-(2**48), 2**48 - 1), ENTROPY), min_size=2))
def test_ids_of_a_sequence_rise_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    sequence = UlidSequence()
    ids = [sequence.next(*step) for step in steps]
    assert all(is_ulid(one) for one in ids)
    assert all(one < following for one, following in itertools.pairwise(ids))


@given(st.integers(max_value=0), ENTROPY, ENTROPY)
def test_two_sequences_differ_also_when_the_clock_stands_before_1970(
    milliseconds: int, one: int, other: int
) -> None:
    ids = {UlidSequence().next(milliseconds, entropy) for entropy in (one, other)}
    assert len(ids) == len({entropy % 2**79 for entropy in (one, other)})


@pytest.mark.parametrize(
    "text",
    ["", "0" * 25, "0" * 27, "8" + "0" * 25, "I" * 26, "l" * 26, "0" * 25 + "U", "0" * 25 + "é"],
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_ulid(text)
