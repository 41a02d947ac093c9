"""Prints the state diagram of `architecture.md` from the table the program runs by.

`python docs/state_diagram.py` prints it, `python docs/state_diagram.py --write` puts it in place.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from conductor_loop.core.states import FINAL, TRANSITIONS, State

PAGE = Path(__file__).with_name("architecture.md")
BLOCK = re.compile(r"```mermaid\n(.*?)```\n", re.DOTALL)


def state_diagram() -> str:
    """Write the transition table as a mermaid diagram, one line for each pair of states."""
    events: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        events.setdefault((before, after), []).append(event.__name__)
    arrows = [
        f"{_shown(before)} --> {_shown(after)}: {', '.join(names)}"
        for (before, after), names in events.items()
    ]
    ends = [f"{state} --> [*]" for state in State if state in FINAL]
    return "".join(f"{line}\n" for line in ["stateDiagram-v2", *_indented(arrows + ends)])


def _shown(state: State) -> str:
    return "[*]" if state is State.NEW else state.value


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def main() -> None:
    """Print the diagram, or write it into the page."""
    if sys.argv[1:] != ["--write"]:
        sys.stdout.write(state_diagram())
        return
    page = BLOCK.sub(f"```mermaid\n{state_diagram()}```\n", PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
