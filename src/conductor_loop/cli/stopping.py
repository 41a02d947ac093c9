"""Signals that ask `run` to end before there is a daemon that could: noted, and heeded then."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

asked: list[int] = []
"""The numbers of those that came, at most one."""


@contextlib.contextmanager
def noting_signals() -> Iterator[None]:
    """Note what asks us to end, until a daemon puts its own handlers in place of this one."""
    asked.clear()
    before = {number: signal.signal(number, _note) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  as `signal` calls it
    if asked:
        os._exit(128 + number)
    asked.append(number)
