"""Where a claimed file stands, and what a name found there says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conductor_loop.core.naming import LONGEST_NAME
from conductor_loop.core.places import claimed_path, needs_folder, read_claimed

ID = "01ARYZ6S41TSV4RRFFQ69G5FAV"
NAMES = st.binary(min_size=1, max_size=LONGEST_NAME).filter(lambda name: b"/" not in name)


@given(NAMES)
@example(b".")
@example(b"intent-a.json")
@example(b"x" * 228)
@example(b"x" * 229)
@example(b"\xff" * 255)
def test_what_stands_in_claimed_tells_its_id_and_name(name: bytes) -> None:
    entry, _, inside = claimed_path(ID, name).partition(b"/")
    assert len(entry) <= LONGEST_NAME
    found = read_claimed(entry)
    assert found is not None
    assert (found[0], found[1] or inside) == (ID, name)


@pytest.mark.parametrize(("length", "is_long"), [(12, False), (228, False), (229, True)])
def test_only_a_name_that_has_no_room_beside_its_id_gets_a_folder(
    length: int, *, is_long: bool
) -> None:
    assert needs_folder(b"x" * length) is is_long
    assert (b"/" in claimed_path(ID, b"x" * length)) is is_long


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"junk",
        b".moving.lock",
        ID.encode() + b".",
        ID.encode() + b"-intent-a.json",
        ID.encode() + b"intent-a.json",
        ID.lower().encode() + b".intent-a.json",
        ID[1:].encode() + b".intent-a.json",
        b"\xff" * 26 + b".intent-a.json",
        "\u00e9".encode() * 13 + b".intent-a.json",
    ],
)
def test_what_has_no_id_and_name_is_no_claim(entry: bytes) -> None:
    assert read_claimed(entry) is None
