"""The architecture page says what the code is: states, layers, folders."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/conductor_loop"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def block(after: str, language: str = "") -> str:
    """The first fenced block after some text."""
    found = re.search(rf"```{language}\n(.*?)```\n", PAGE[PAGE.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


def listed() -> list[str]:
    """Every path of the folder listing; indentation is two characters a level."""
    parents: list[str] = []
    paths = []
    for line in block("## Folders").splitlines():
        level = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:level], line.split()[0]]
        paths.append("".join(parents))
    return paths


def test_the_state_diagram_is_what_the_table_prints() -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / "docs/state_diagram.py"], capture_output=True, text=True, check=True
    )

    # When this fails: python docs/state_diagram.py --write
    assert block("## The states", "mermaid") == printed.stdout
    assert printed.stdout.startswith("stateDiagram-v2\n    [*] --> waiting: Admitted\n")


def test_the_layers_are_those_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [layer.replace("conductor_loop.", "") for layer in contracts["contracts"][0]["layers"]]

    assert block("## Layers").strip() == " → ".join(layers)


def test_every_package_and_every_module_at_the_top_has_its_place_in_the_listing() -> None:
    packages = {path.parent for path in SOURCE.rglob("__init__.py")}
    modules = set(SOURCE.glob("*.py")) - {SOURCE / "__init__.py"}

    assert packages | modules <= {ROOT / path for path in listed()}


@pytest.mark.parametrize("path", listed())
def test_what_is_listed_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_page_stays_two_pages_long() -> None:
    assert len(PAGE.split()) < 1_200
