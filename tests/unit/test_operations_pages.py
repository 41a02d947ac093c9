"""Every page: each command line in it is one that the program takes."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import takewhile
from pathlib import Path

import pytest

from conductor_loop.cli.commands import SUMMARIES, invocation, load
from conductor_loop.cli.main import command_parser

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_OPERATORS = {"|", "||", "&&", ";", ">", ">>", "<", "(", ")"}
# The last word of these is the image, or the name of the service; what follows is the command.
_BEFORE = re.compile(r"(?:^|[ /])conductor-loop(?= |$)")


def command_lines(page: Path) -> list[str]:
    """Every line of the shell blocks, continued ones joined, and every command in the text."""
    text = page.read_text().replace("\\\n", " ")
    lines = [
        line.split(" #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    return lines + re.findall(r"`(conductor-loop [^`]+)`", text)


def of_ours(line: str) -> list[str] | None:
    """The words behind `conductor-loop`, where it is the program and not a namespace or image."""
    if line.startswith(("docker build", "docker run")) or "pip install" in line:
        return None
    parts = _BEFORE.split(line)
    if len(parts) < 2 or line.startswith(("kubectl -n conductor-loop rollout", "kubectl apply")):
        return None
    words = list(takewhile(lambda word: word not in _OPERATORS, _words(parts[-1])))
    is_mentioned_only = len(words) == 1
    return None if is_mentioned_only or not {*words[:1]} & {*SUMMARIES} else words


def _words(line: str) -> list[str]:
    """As a shell splits them; operators are words of their own."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # a quotation that goes on in the next line
        return []


CASES = {
    f"{page.stem}: {' '.join(words)}": words
    for page in PAGES
    for line in command_lines(page)
    if (words := of_ours(line)) is not None
}


@pytest.mark.parametrize("words", CASES.values(), ids=CASES)
def test_a_command_line_of_the_pages_is_understood(words: list[str]) -> None:
    asked = invocation(tuple(words))
    understood = command_parser(asked.name, load(asked.name)).understand(asked.arguments)
    assert understood.mistakes == []


def test_nobody_is_told_to_install_the_program_from_an_index() -> None:
    by_name = re.compile(r"pip install(?: -{1,2}[a-z-]+)* '?conductor-loop")
    told = [*PAGES, *(TOP / "src").rglob("*.py"), *TOP.glob("*.md")]
    assert [str(path) for path in told if by_name.search(path.read_text())] == []


def test_what_the_pages_install_is_made_of_the_checkout() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    named = {
        word
        for page in PAGES
        for line in command_lines(page)
        if "pip install" in line
        for word in shlex.split(line)
        if word.startswith(".")
    }
    assert named == {".", ".[otel]"}
    assert "otel" in project["optional-dependencies"]


def test_under_systemd_the_program_is_named_by_its_whole_path() -> None:
    for line in command_lines(DOCS / "systemd.md"):
        if line.startswith("sudo") and of_ours(line) is not None:
            assert "/opt/conductor-loop/bin/conductor-loop " in line


def test_the_page_of_kubernetes_sets_each_shell_variable_that_it_uses() -> None:
    page = (DOCS / "kubernetes.md").read_text()
    assert set(re.findall(r"\$(\w+)", page)) == set(re.findall(r"(?m)^(\w+)=", page))


def test_most_pages_have_such_lines() -> None:
    assert len(CASES) >= 150
