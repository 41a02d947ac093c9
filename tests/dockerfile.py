"""A Dockerfile as data: its stages, and what the image that comes last is run with."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Stage:
    """What stands between one FROM and the next."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)
    """(instruction, arguments), continued lines joined."""

    def all_of(self, instruction: str) -> list[str]:
        """The arguments of each instruction of one kind."""
        return [arguments for kind, arguments in self.instructions if kind == instruction]

    def last(self, instruction: str) -> str:
        """The one that counts of a kind that may stand only once."""
        return self.all_of(instruction)[-1]

    def words(self, instruction: str) -> list[str]:
        """The last one of a kind in its exec form."""
        return list(json.loads(re.sub(r"^.*?(?=\[)", "", self.last(instruction))))

    def environment(self) -> dict[str, str]:
        """Every ENV."""
        pairs = [pair for line in self.all_of("ENV") for pair in shlex.split(line)]
        return dict(pair.split("=", 1) for pair in pairs)


def stages(path: Path) -> list[Stage]:
    """Read a Dockerfile (docs.docker.com, Dockerfile reference, "Format")."""
    text = re.sub(r"^[ \t]*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        instruction, arguments = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = arguments.partition(" AS ")
            found.append(Stage(base, name))
        else:
            found[-1].instructions.append((instruction, arguments))
    return found
