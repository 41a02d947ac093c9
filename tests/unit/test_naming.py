"""File names as bytes: which are ours, how they are shown, and what stands beside them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conductor_loop.core.naming import (
    LONGEST_NAME,
    collision_name,
    error_log_name,
    from_shown,
    is_intent_name,
    meant,
    shown,
    verdict_name,
    with_suffix,
)

ID = "01ARYZ6S41TSV4RRFFQ69G5FAV"
NAMES = st.binary(min_size=1, max_size=LONGEST_NAME).filter(lambda name: b"/" not in name)


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        (b"intent-scale-up-001.json", True),
        (b"intent-.json", True),
        (b"intent-\xff\x1b\n.json", True),
        (b"intent-x.json.json", True),
        (b"intent.json", False),
        (b"intent-json", False),
        (b"Intent-x.json", False),
        (b"intent-x.JSON", False),
        (b"intent-x.json.", False),
        (b"intent-x.json.tmp", False),
        (b".intent-x.json", False),
        (b"-intent-x.json", False),
        (b"intent-x.json\n", False),
    ],
)
def test_only_names_that_match_the_pattern_are_ours(name: bytes, is_ours: bool) -> None:
    assert is_intent_name(name) is is_ours


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"intent-x.json", "intent-x.json"),
        ("intent-größe-負載.json".encode(), "intent-größe-負載.json"),
        (b"intent-\n\x1b[2J.json", "intent-\\x0a\\x1b[2J.json"),
        (b"intent-\x7f.json", "intent-\\x7f.json"),
        (b"intent-\xff\xfe.json", "intent-\\xff\\xfe.json"),
        (b"intent-\\xff.json", "intent-\\\\xff.json"),
        ("intent-\u202egnp.json".encode(), "intent-\\u202egnp.json"),
        ("intent-\u0085.json".encode(), "intent-\\u0085.json"),
        (b"intent-\x85.json", "intent-\\x85.json"),
        ("intent-\U000e0041.json".encode(), "intent-\\U000e0041.json"),
    ],
)
def test_what_would_not_show_is_escaped(name: bytes, text: str) -> None:
    assert shown(name) == text


@given(NAMES)
def test_a_shown_name_is_printable(name: bytes) -> None:
    assert shown(name).isprintable()


@given(NAMES, NAMES)
@example(b"\x85", b"\xc2\x85")
@example(b"\xad", "\u00ad".encode())
@example(b"\\xad", b"\xad")
def test_two_names_never_look_the_same(one: bytes, other: bytes) -> None:
    assert (shown(one) == shown(other)) == (one == other)


@given(NAMES)
def test_a_shown_name_is_read_back(name: bytes) -> None:
    assert from_shown(shown(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "intent-\\.json",
        "intent-\\x41.json",
        "intent-\\xFF.json",
        "intent-\\u0041.json",
        "intent-\\ud800.json",
        "intent-\\U00110000.json",
        "intent-\\xc3\\xa4.json",
        "intent-\udcff.json",
        "intent-\x1b.json",
    ],
)
def test_what_no_name_shows_as_is_not_read(text: str) -> None:
    assert from_shown(text) is None


def test_a_name_with_an_escape_may_be_meant_as_it_is_or_as_it_is_shown() -> None:
    assert meant(b"intent-\\xff.json") == (b"intent-\\xff.json", b"intent-\xff.json")
    assert meant("intent-größe.json".encode()) == ("intent-größe.json".encode(),)
    assert meant(b"intent-\xff.json") == (b"intent-\xff.json",)


def test_names_with_room_only_get_a_suffix() -> None:
    assert verdict_name(b"intent-x.json") == b"intent-x.json.status"
    assert error_log_name(b"intent-x.json") == b"intent-x.json.error.log"
    assert collision_name(b"intent-x.json", ID) == f"intent-x.{ID}.json".encode()


@pytest.mark.parametrize(
    ("derive", "end"),
    [
        (verdict_name, b".status"),
        (error_log_name, b".error.log"),
        (lambda name: collision_name(name, ID), f".{ID}.json".encode()),
    ],
    ids=["verdict", "error log", "collision"],
)
def test_a_name_without_room_is_cut_and_marked_with_the_hash_of_the_whole(
    derive: object, end: bytes
) -> None:
    assert callable(derive)
    name = b"intent-" + b"x" * (LONGEST_NAME - 12) + b".json"
    mark = b"~" + hashlib.sha256(name).hexdigest()[:16].encode()
    derived = derive(name)
    assert derived.endswith(mark + end)
    assert derived.startswith(b"intent-xxx")
    assert len(derived) == LONGEST_NAME


@given(NAMES)
def test_every_derived_name_fits(name: bytes) -> None:
    name = b"intent-" + name[: LONGEST_NAME - 12] + b".json"
    derived = [verdict_name(name), error_log_name(name), collision_name(name, ID)]
    assert all(len(one) <= LONGEST_NAME for one in derived)
    assert is_intent_name(derived[2])


def test_long_names_with_a_common_beginning_stay_apart() -> None:
    common = b"intent-" + b"x" * 240
    names = {verdict_name(common + b"%d.json" % number) for number in range(100)}
    assert len(names) == 100


@pytest.mark.parametrize("padding", range(4))
def test_a_cut_never_falls_into_a_character(padding: int) -> None:
    name = b"x" * padding + "負😀é".encode() * 40
    with_suffix(name[:LONGEST_NAME], b".status").decode("utf-8")


@given(NAMES.map(lambda name: name.rjust(LONGEST_NAME, b"\x80")))
def test_a_name_of_stray_bytes_is_cut_all_the_same(name: bytes) -> None:
    assert LONGEST_NAME - 3 <= len(verdict_name(name)) <= LONGEST_NAME
