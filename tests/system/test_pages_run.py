"""Pages that are followed, command by command, by a newcomer: it comes out as they show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import Reader, differs, steps

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    one = Reader(tmp_path)
    yield one
    one.leave()


@pytest.mark.parametrize("name", ["tutorial.md"])
def test_the_commands_of_a_page_do_what_it_shows(name: str, reader: Reader) -> None:
    assert reader.follow(DOCS / name) >= 5


def test_whoever_leaves_a_command_out_of_the_tests_says_why() -> None:
    left_out = [step for page in DOCS.rglob("*.md") for step in steps(page) if not step.is_run]
    assert left_out
    for step in left_out:
        assert len(step.mark.removeprefix("not run: ")) > 10, step


def test_another_output_than_shown_is_noticed() -> None:
    assert differs("2 good, 0 not", "1 good, 1 not")
    assert differs("first\n...\nlast", "first\nmiddle\nother")
    assert not differs("first\n...\nlast", "first\nmiddle\nlast")
    assert not differs("2026-03-02T09:15:04Z in 1ms", "2027-01-01T00:00:00.123Z in 2.5s")
