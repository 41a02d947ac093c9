"""Pages that are followed, command by command, by a newcomer: it comes out as they show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.pages import Reader, differs, steps

DOCS = Path(__file__).parents[2] / "docs"
FOLLOWED = ("tutorial.md", "gitops.md", "ci.md")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    one = Reader(tmp_path)
    yield one
    one.leave()


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_commands_of_a_page_do_what_it_shows(name: str, reader: Reader) -> None:
    assert reader.follow(DOCS / name) >= 3
    lacking = {step.lacks for step in steps(DOCS / name)} - {""}
    if lacking:
        pytest.skip(f"what needs {', '.join(lacking)} was left out")


def test_the_overlay_of_the_page_names_a_component_that_fits(
    reader: Reader, tmp_path: Path
) -> None:
    """What can be told of it without kubectl."""
    reader.follow(DOCS / "gitops.md")
    app = tmp_path / "fleet/apps/cnf-simulator"
    overlay = yaml.safe_load((app / "kustomization.yaml").read_text())
    workload = yaml.safe_load((app / overlay["resources"][0]).read_text())
    component = yaml.safe_load((app / overlay["components"][0] / "kustomization.yaml").read_text())
    assert component["kind"] == "Component"
    assert component["replicas"] == [{"name": workload["metadata"]["name"], "count": 5}]


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
