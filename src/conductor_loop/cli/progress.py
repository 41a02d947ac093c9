"""A progress bar for `-once`, on a terminal alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conductor_loop.cli.terminal import lines_above
from conductor_loop.core.naming import is_intent_name
from conductor_loop.ports import Listener

_UPDATES_A_SECOND = 5


@contextmanager
def progress_bar(handoff: Path) -> Iterator[Sequence[Listener]]:
    """Show how many of the files that wait now are final; yields who must hear of each."""
    if not sys.stderr.isatty():
        yield ()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
    from rich.text import Text

    from conductor_loop.projections.tally import Tally

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)

    def write(lines: str) -> None:
        # Only this console knows where its bar stands.
        console.print(Text(lines, end=""), soft_wrap=True)

    # Nothing takes the place of the streams: who writes to their descriptors would not notice.
    progress = Progress(
        *columns,
        console=console,
        refresh_per_second=_UPDATES_A_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress, lines_above(write):
        # What an earlier run left unfinished comes on top; the bar then grows with it.
        total = _waiting(handoff)
        task = progress.add_task("", total=total)

        def advance() -> None:
            progress.update(task, completed=tally.final, total=max(total, tally.final))

        tally = Tally(advance)
        yield (tally,)


def _waiting(handoff: Path) -> int:
    try:
        with os.scandir(os.fsencode(handoff)) as entries:
            return sum(is_intent_name(entry.name) for entry in entries)
    except FileNotFoundError:  # it will be made
        return 0
