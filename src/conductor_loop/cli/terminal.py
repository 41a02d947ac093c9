"""What goes to the terminal: tables, JSON, errors and warnings; no text can move the cursor."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from conductor_loop.core.faults import ConductorError, Fault
from conductor_loop.core.legible import legible_line
from conductor_loop.core.scrubbing import scrubbed_message

NEVER_CUT = 40
"""Characters that a cell keeps on the narrowest screen."""


def print_json(value: object) -> None:
    """Print one JSON document on standard output; its text is plain ASCII."""
    import json

    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_failure_as_json(error: ConductorError) -> None:
    """Print what went wrong for a script, with each of several mistakes."""
    mistakes = parts_of(error)
    several = {"mistakes": [problem(one) for one in mistakes]} if len(mistakes) > 1 else {}
    with contextlib.suppress(OSError):  # standard output may be what went wrong
        print_json({"error": problem(mistakes[0]), **several})


def problem(one: ConductorError | Fault) -> dict[str, str]:
    """Give code, message and hint for `--json`; a command in the hint names this daemon."""
    return {"code": one.code, "message": one.message, "hint": addressed(one.hint)}


def print_line(text: str = "") -> None:
    """Print one line on standard output."""
    sys.stdout.write(fitted(text) + "\n")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, cut: str = "") -> None:
    """Print columns as wide as their widest cell; the last one is not padded.

    On a terminal the column `cut` is shortened where rows would not fit; elsewhere nothing is.
    """
    width = screen_size().columns if cut and sys.stdout.isatty() else None
    for line in table_lines(headings, rows, cut=cut, width=width):
        sys.stdout.write(line + "\n")


def table_lines(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    cut: str = "",
    width: int | None = None,
) -> Iterator[str]:
    """Lay the same out as lines; `width` is that of the screen, in characters."""
    lines = [list(headings), *([_fit(cell) for cell in row] for row in rows)]
    if cut and width is not None:
        _shorten(lines, list(headings).index(cut), width)
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        yield _encodable("  ".join(padded).rstrip())


def screen_size() -> os.terminal_size:
    """How large the screen is now; LINES and COLUMNS count only where a serial line says nothing.

    Whoever exported them did so before the window was made smaller.
    """
    size = os.get_terminal_size(sys.stdout.fileno())
    return size if size.columns and size.lines else shutil.get_terminal_size()


def _shorten(lines: list[list[str]], column: int, width: int) -> None:
    """Cut the cells of a column in the middle, so that all of it fits if that can be."""
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    others = sum(widths) - widths[column] + 2 * (len(widths) - 1)
    room = max(width - others, NEVER_CUT)
    mark = "…" if _encodable("…") == "…" else "..."
    for line in lines:
        text, kept = line[column], room - len(mark)
        if len(text) > room:
            line[column] = text[: kept - kept // 2] + mark + text[-(kept // 2) :]


def fitted(text: str) -> str:
    """Make one line of a text that moves no cursor and that standard output can take."""
    return _encodable(_fit(text))


_ABOUT_A_DAEMON = (
    "audit backup cancel compliance config distribute doctor forensics health keys list pause"
    " restore resume retry state submit top verify why"
)
# A verb, or the bare command where the sentence ends: that starts a daemon.
_COMMAND = re.compile(
    rf"\bconductor-loop(?: (?:{_ABOUT_A_DAEMON.replace(' ', '|')})\b(?! --help)|(?=$|[;,] ))"
)
_flags: list[str] = []


def speak_for(address: str) -> None:
    """Have the commands that are hinted at name this daemon: flags, each after a space."""
    _flags[:] = [address]


def addressed(text: str) -> str:
    """Put the flags that name our daemon behind each command in a text, so that it can be typed."""
    return _COMMAND.sub(lambda command: command[0] + "".join(_flags), text)


def print_error(message: str, hint: str = "") -> None:
    """Print what went wrong on standard error, and below it what to do next."""
    _complain("ERROR", message)
    if hint:
        _complain("hint", addressed(hint))


def print_raised(error: ConductorError) -> None:
    """Print an error; one that gathers several is printed as those."""
    for one in parts_of(error):
        print_error(one.message, one.hint)


def parts_of(error: ConductorError) -> Sequence[ConductorError]:
    """Give the mistakes that an error gathers, or the error itself."""
    from conductor_loop.settings.loading import SettingsMistaken

    return error.mistakes if isinstance(error, SettingsMistaken) else (error,)


def print_warning(text: str) -> None:
    """Print on standard error what somebody should know, although it goes on."""
    _complain("WARNING", text)


def _complain(kind: str, text: str) -> None:
    # Where both go into one pipe, what was said before comes before.
    with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
        sys.stdout.flush()
    write_standard_error(f"{kind}: {_fit(text)}\n")


_above: list[Callable[[str], None]] = []
"""While something is drawn on standard error: what writes lines above it."""


@contextlib.contextmanager
def lines_above(write: Callable[[str], None]) -> Iterator[None]:
    """Have everything for standard error written this way meanwhile, in whole lines."""
    _above.append(write)
    try:
        yield
    finally:
        _above.remove(write)


def write_standard_error(text: str) -> None:
    """Write to standard error, whatever stands for it; it is no error when nobody reads it.

    Past Python's buffer: what stays in that is tried once more at exit, and fails it.
    """
    if _above:
        _above[-1](text)
        return
    data = text.encode(sys.stderr.encoding or "ascii", "backslashreplace")
    with contextlib.suppress(OSError, ValueError):  # its reader is gone, or it is closed
        write_all(sys.stderr.fileno(), data)


def write_all(handle: int, data: bytes) -> None:
    """Write everything to an open file. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _fit(text: str) -> str:
    return legible_line(scrubbed_message(text))


def _encodable(text: str) -> str:
    """Under LANG=C a terminal may take ASCII alone; the rest is escaped instead of failing."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)
