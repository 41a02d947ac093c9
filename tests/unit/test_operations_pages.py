"""Every page: each command line in it is one that the program takes."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from conductor_loop.cli.commands import SUMMARIES, invocation, load
from conductor_loop.cli.main import command_parser

DOCS = Path(__file__).parents[2] / "docs"
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


def test_most_pages_have_such_lines() -> None:
    assert len(CASES) >= 150
