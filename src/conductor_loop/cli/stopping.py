"""Signals that come to `run` before there is a daemon that could heed them: noted, heeded then."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

noted: list[int] = []
"""The numbers of those that came, each once."""


@contextlib.contextmanager
def noting_signals() -> Iterator[None]:
    """Note what comes, until a daemon puts its own handlers in place of this one."""
    noted.clear()
    before = {number: signal.signal(number, _note) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def asked_to_end() -> bool:
    """Whether one of them asks for the end."""
    return any(map(_asks_to_end, noted))


def _asks_to_end(number: int) -> bool:
    # Without a terminal SIGHUP has the settings read again.
    return number != signal.SIGHUP or sys.stderr.isatty()


def _note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  as `signal` calls it
    if asked_to_end() and _asks_to_end(number):
        os._exit(128 + number)
    if number not in noted:
        noted.append(number)
