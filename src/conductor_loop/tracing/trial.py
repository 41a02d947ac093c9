"""The program of a moment: whether OpenTelemetry takes the settings that it is given."""

from __future__ import annotations

import sys

from conductor_loop.core.exporting import Tried, encode
from conductor_loop.core.faults import CannotStart
from conductor_loop.tracing.opening import open_sender


def main() -> None:
    """Make everything that exports, send nothing, and print what was found."""
    try:
        found = Tried(complaints=tuple(open_sender("trial").complaints))
    except CannotStart as error:
        found = Tried(refused=error.message, hint=error.hint)
    sys.stdout.buffer.write(encode(found))
