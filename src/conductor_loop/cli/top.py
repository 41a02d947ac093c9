"""`conductor-loop top`: state, rates, queue, what runs and what ended, anew each second."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

from conductor_loop.cli.flags import add_settings
from conductor_loop.cli.terminal import fitted, print_json, screen_size, table_lines
from conductor_loop.core.durations import format_duration
from conductor_loop.core.naming import shown
from conductor_loop.core.story import moment
from conductor_loop.operations.glance import Glance, Looking
from conductor_loop.settings import Settings
from conductor_loop.settings.tracing import are_traces_on

NAME = "top"
HELP = (
    "Show state, rates, the queue by target, what runs now and what ended last, anew each second.\n"
    "q or Ctrl-C ends it. Reads only; works beside a daemon. Into a pipe it prints one frame."
)
EXAMPLES = """\
conductor-loop top
conductor-loop top -once                         # one frame, e.g. for watch or a ticket
conductor-loop top -json | jq .rates
"""
_SECONDS = 1.0
_QUIT = (b"q", b"Q", b"\x03", b"\x04")
_MEBIBYTE = 1 << 20
# xterm's control sequences: another screen without cursor and line wrap, and all of it back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _LINE_END, _REST = "\x1b[H", "\x1b[K\n", "\x1b[J"
_MOST_LINES = {"queue": 5, "running": 8}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to show it."""
    parser.add_argument("--once", action="store_true", help="one frame, then exit")
    parser.add_argument("--json", action="store_true", help="one frame, for scripts")
    add_settings(parser, "traces")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Show one frame, or one after the other."""
    looking = Looking(settings)
    if args.json:
        is_traced = are_traces_on(settings, os.environ)
        print_json(looking.look().to_json(is_traced=is_traced))
    elif args.once or not sys.stdout.isatty():
        for line in _frame(looking.look(), settings, None):
            sys.stdout.write(line.rstrip() + "\n")
    else:
        with contextlib.suppress(KeyboardInterrupt), _screen():
            _watch(looking, settings)
    return 0


def _watch(looking: Looking, settings: Settings) -> None:
    while True:
        due = time.monotonic() + _SECONDS
        size = screen_size()
        lines = list(_frame(looking.look(), settings, size))[: size.lines - 1]
        cut = (line[: size.columns] for line in lines)
        sys.stdout.write(_HOME + "".join(line + _LINE_END for line in cut) + _REST)
        sys.stdout.flush()
        if _is_told_to_end(due):
            return


def _is_told_to_end(due: float) -> bool:
    """Wait for a key until a moment of the steady clock; other keys than the last bring it on."""
    left = max(0.0, due - time.monotonic())
    if not sys.stdin.isatty():
        time.sleep(left)
        return False
    readable, _, _ = select.select([sys.stdin], [], [], left)
    key = os.read(sys.stdin.fileno(), 1) if readable else None
    # Nothing to be read although it can be: whoever held the other end is gone.
    return key is not None and (key in _QUIT or not key)


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """Have the screen and single keys meanwhile; leave both as they were, whatever happens."""
    import termios
    import tty

    keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None
    before = termios.tcgetattr(keyboard) if keyboard is not None else None
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        if keyboard is not None:
            tty.setcbreak(keyboard)
        sys.stdout.write(_ENTER)
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        if keyboard is not None and before is not None:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _frame(glance: Glance, settings: Settings, size: os.terminal_size | None) -> Iterator[str]:
    """The lines of one frame; `size` bounds what is shown of the last part, and long names."""
    width = size.columns if size else None
    top = [*_head(glance, settings), *_running(glance, width), *_queue(glance)]
    yield from top
    most = 10 if size is None else max(1, size.lines - len(top) - 4)
    yield from _recent(glance, most)


def _head(glance: Glance, settings: Settings) -> Iterator[str]:
    yield fitted(f"{moment(glance.at)}  {_state(glance)}  {settings.handoff.absolute()}")
    for check in glance.failing:
        yield fitted(f"  BAD {check.name}: {check.message}")
    latency = f"p50 {_seconds(glance.p50)}  p95 {_seconds(glance.p95)}"
    yield f"ended    {glance.succeeded:.1f}/s well  {glance.failed:.1f}/s not  {latency}"
    vitals = glance.vitals
    if vitals is None:
        return
    oldest = _seconds(glance.oldest_seconds)
    yield f"waiting  {vitals.waiting}  in the folder {vitals.in_folder}  oldest {oldest}"
    used = f"{vitals.process.resident_bytes / _MEBIBYTE:.0f} MiB"
    up = _seconds(vitals.at - vitals.process.started_at)
    yield f"workers  {len(vitals.running)} of {vitals.workers}  memory {used}  up {up}"


def _state(glance: Glance) -> str:
    if glance.is_silent:
        return "a daemon is there and does not say how it is"
    if glance.vitals is None:
        return "no daemon runs"
    return f"{'NOT READY' if glance.failing else 'ready'}  pid {glance.daemon_pid}"


def _running(glance: Glance, width: int | None) -> Iterator[str]:
    running = glance.vitals.running if glance.vitals else ()
    rows = [
        (r.target, str(r.attempt), _whole(glance.running_seconds(r)), r.name, r.intent_id)
        for r in running
    ]
    headings = ("RUNS", "ATTEMPT", "FOR", "FILE", "ID")
    yield from _part("running", headings, rows, cut="FILE", width=width)


def _queue(glance: Glance) -> Iterator[str]:
    rows = [(target, str(count)) for target, count in glance.queue]
    yield from _part("queue", ("WAITS FOR", "INTENTS"), rows)


def _recent(glance: Glance, most: int) -> Iterator[str]:
    rows = [
        (moment(each.final_at), each.state.value, str(each.target), shown(each.name))
        for each in glance.recent[:most]
    ]
    if rows:
        yield ""
        yield from table_lines(("ENDED", "AS", "TARGET", "FILE"), rows)


def _part(
    name: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    cut: str = "",
    width: int | None = None,
) -> Iterator[str]:
    if not rows:
        return
    most = _MOST_LINES[name]
    yield ""
    yield from table_lines(headings, rows[:most], cut=cut, width=width)
    if len(rows) > most:
        yield f"... and {len(rows) - most} more"


def _whole(seconds: float | None) -> str:
    """Milliseconds of what still runs would only flicker."""
    return _seconds(seconds if seconds is None else int(seconds))


def _seconds(value: float | None) -> str:
    return "-" if value is None else format_duration(timedelta(seconds=round(value, 3)))
