"""Every file of the corpus again: what fuzzing starts from, and what it ever found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conductor_loop.core.faults import Fault
from conductor_loop.core.strict_json import parse_strict
from tests.fuzz.rules import hold
from tests.unit.test_strict_json import VALUES

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
WORDS = (
    '{ } [ ] , : "a" "A" "replicas" "\\u202e" "\\ud800" "\u212a" 1 -0 1.5 1e999 NaN Infinity'
    " 9007199254740992 true null \\ \x7f \u200b \xff"
)
SCRAPS = st.sampled_from([*WORDS.split(" "), " ", "\n", "\t", "\r", "\0"])


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_fuzzing_starts_from_holds(path: Path) -> None:
    hold(path.read_bytes())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_a_file_of_the_corpus_is_read_as_its_name_says(path: Path) -> None:
    value = parse_strict(path.read_bytes())
    code = path.name.partition("-")[0].removesuffix(".json")
    assert (value.code if isinstance(value, Fault) else "accepted") == code


@given(st.lists(SCRAPS, max_size=40).map("".join))
@example('{"a":1,"A":1}')
@example('{"\u212a":1,"k":1}')
def test_row_15_scraps_of_json_are_read_as_a_plain_reader_reads_them(text: str) -> None:
    hold(text.encode())


@given(st.binary(max_size=200))
def test_row_15_any_bytes_are_read_as_a_plain_reader_reads_them(body: bytes) -> None:
    hold(body)


@given(VALUES, st.data())
def test_row_15_a_document_with_one_byte_changed_is_read_as_a_plain_reader_reads_it(
    value: object, data: st.DataObject
) -> None:
    body = bytearray(json.dumps(value).encode())
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    hold(bytes(body))
