"""docs/conductor-loop/SECURITY.md names tests for what it promises: they exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs/conductor-loop/SECURITY.md").read_text()
NAMED = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", PAGE)
ROWS = [int(row) for row in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]


@cache
def names_in(path: Path) -> frozenset[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(n.name for n in nodes if isinstance(n, functions) and n.name[:5] == "test_")


@cache
def rows_with_a_test() -> frozenset[int]:
    names = [name for path in (TOP / "tests").rglob("test_*.py") for name in names_in(path)]
    found = [re.match(r"test_row((?:_\d\d)+)_", name) for name in names]
    return frozenset(int(row) for match in found if match for row in match[1].split("_") if row)


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    assert test in names_in(TOP / file)


def test_every_promise_names_a_test() -> None:
    promises = PAGE.partition("## The seed's promises")[2].partition("## The abuse table")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert not [row for row in rows if "::test_" not in row]


def test_the_abuse_table_has_42_rows() -> None:
    assert list(range(1, 43)) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_abuse_table_has_a_test_of_its_number(row: int) -> None:
    assert row in rows_with_a_test()
