"""What a whole sweep found, as lines on a terminal and as tables in docs/reliability.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.crash.scene import With
from tests.crash.soak import Soak

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- make crash: begin -->\n", "<!-- make crash: end -->\n"


@dataclass(slots=True)
class Sweep:
    """One call disturbed in one way, from the first time to the last."""

    publisher: With
    fault: str
    call: str
    blows: int = 0
    wrong: list[str] = field(default_factory=list)
    blunt: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Tell it on a terminal, with whatever was wrong."""
        head = f"{self.publisher}, {self.fault}, {self.call}: {self.blows} blows"
        faults = [f"\n  WRONG {each}" for each in self.wrong]
        faults += [f"\n  blunt {each}" for each in self.blunt]
        return head + "".join(faults)


def describe(sweeps: Sequence[Sweep], soaks: Mapping[With, Soak]) -> str:
    """Write the tables in Markdown."""
    return "\n".join([*_summary(sweeps), "", *_by_call(sweeps), "", *_soaks(soaks)])


def write_record(sweeps: Sequence[Sweep], soaks: Mapping[With, Soak]) -> None:
    """Replace the tables in docs/reliability.md by these."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=PAGE.parent, capture_output=True, text=True
    ).stdout.strip()
    kernel = ".".join(platform.release().split(".")[:2])
    where = (
        f"Commit {commit}, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()},"
        f" Linux {kernel}, {len(os.sched_getaffinity(0))} cores."
    )
    PAGE.write_text(f"{before}{BEGIN}\n{where}\n\n{describe(sweeps, soaks)}\n\n{END}{after}")


def _summary(sweeps: Sequence[Sweep]) -> Iterator[str]:
    yield "| publisher | disturbance | calls | times | promise broken | ended as if by a defect |"
    yield "|---|---|---|---|---|---|"
    for publisher, fault in dict.fromkeys((each.publisher, each.fault) for each in sweeps):
        mine = [each for each in sweeps if (each.publisher, each.fault) == (publisher, fault)]
        times = sum(each.blows for each in mine)
        wrong, blunt = (sum(map(len, each)) for each in _faults(mine))
        kinds = sum(each.blows > 0 for each in mine)
        yield f"| {publisher} | `{fault}` | {kinds} | {times:,} | {wrong} | {blunt} |"


def _faults(sweeps: Sequence[Sweep]) -> tuple[list[list[str]], list[list[str]]]:
    return [each.wrong for each in sweeps], [each.blunt for each in sweeps]


def _by_call(sweeps: Sequence[Sweep]) -> Iterator[str]:
    columns = list(dict.fromkeys((each.publisher, each.fault) for each in sweeps))
    times = {(each.publisher, each.fault, each.call): each.blows for each in sweeps}
    yield "| times per call | " + " | ".join(f"{p}, `{f}`" for p, f in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for call in sorted({each.call for each in sweeps if each.blows}):
        cells = (str(times.get((*column, call)) or "") for column in columns)
        yield f"| `{call}` | " + " | ".join(cells) + " |"


def _soaks(soaks: Mapping[With, Soak]) -> Iterator[str]:
    yield "| random kills | kills | intents handed over | promise broken |"
    yield "|---|---|---|---|"
    for publisher, told in soaks.items():
        intents = f"{told.ledger.total():,}"
        yield f"| {publisher} | {told.kills} | {intents} | {len(told.wrong)} |"
