"""The documentation as a site: it builds strictly, and a reader's browser asks nobody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """What `make docs` does, elsewhere."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", *more, "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "site"
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")}
    assert pages <= built


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loading = re.compile(r"<(?:script|img|iframe|source)[^>]*src=[\"']?(?:https?:)?//[^>]*>")
    sheets = re.compile(r"<link[^>]*rel=[\"']?(?:stylesheet|preconnect|icon)[^>]*//[^>]*>")
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert loading.findall(text) + sheets.findall(text) == [], page


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A page\n\n[gone](gone.md)\n")
    settings = re.sub(r"(?s)\nnav:.*", "\n", (ROOT / "mkdocs.yml").read_text())
    (tmp_path / "mkdocs.yml").write_text(settings)
    done = build(tmp_path / "site", "-f", str(tmp_path / "mkdocs.yml"))
    assert done.returncode != 0
    assert "gone.md" in done.stderr


def test_the_developers_page_names_what_exists() -> None:
    """Paths are of the repository, of the package, or of docs/."""
    text = (ROOT / "docs/conductor-loop/DEVELOPER.md").read_text()
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|yml))`", text)
    places = (ROOT, ROOT / "src/conductor_loop", ROOT / "docs")
    assert len(named) > 10
    missing = [one for one in named if not any((place / one).exists() for place in places)]
    assert {*missing} <= {"site/"}  # which is made
