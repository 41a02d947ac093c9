"""Intents named on the command line: read, bounded like the daemon reads, and judged like there."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from conductor_loop.cli.terminal import print_line, problem
from conductor_loop.core.admission import admit
from conductor_loop.core.arrival import Arrival, Content, TooLarge
from conductor_loop.core.events import Receipt, Rejected
from conductor_loop.core.faults import Fault, UsageError
from conductor_loop.core.naming import is_intent_name
from conductor_loop.core.reading import IntakeRules

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Judged:
    """One file and what the daemon would say to it; no faults means that it would be taken."""

    source: str
    """As given on the command line."""
    body: bytes
    digest: str
    """SHA-256 of the bytes, in hex; empty when there are too many to be read."""
    faults: tuple[Fault, ...]

    @property
    def name(self) -> bytes:
        """The name of the file itself; empty for standard input."""
        return b"" if self.source == STDIN else os.path.basename(os.fsencode(self.source))

    @property
    def is_misnamed(self) -> bool:
        """Whether the daemon would leave it alone because of its name."""
        return self.source != STDIN and not is_intent_name(self.name)


def judge(source: str, rules: IntakeRules, limit: int) -> Judged:
    """Read a file, or standard input for `-`, and judge it. Raises UsageError: not readable."""
    body, size = _read(source, limit + 1)
    is_whole = len(body) <= limit
    digest = hashlib.sha256(body).hexdigest() if is_whole else ""
    receipt = Receipt(b"", datetime.now(UTC), size, digest)
    content = Content(body) if is_whole else TooLarge(limit)
    event = admit(
        Arrival("", receipt, content), rules, newest=lambda _: None, is_imported=lambda *_: False
    )
    faults = event.faults if isinstance(event, Rejected) else ()
    return Judged(source, body, digest, faults)


def print_faults(faults: Sequence[Fault]) -> None:
    """Print every fault with its place, and below it the hint."""
    for fault in faults:
        place = f"{fault.pointer}: " if fault.pointer else ""
        print_line(f"  {place}{fault.message} [{fault.code}]")
        if fault.hint:
            print_line(f"    hint: {fault.hint}")


def fault_fields(faults: Sequence[Fault]) -> list[dict[str, str]]:
    """The faults for `--json`."""
    return [{**problem(one), "pointer": one.pointer} for one in faults]


def _read(source: str, most: int) -> tuple[bytes, int]:
    """The first bytes, and how many there are in all: 0 where a stream goes on."""
    try:
        if source == STDIN:
            return _read_from(sys.stdin.buffer, most)
        with open(source, "rb") as file:
            return _read_from(file, most)
    except OSError as error:
        raise UsageError(
            f"cannot read {source}: {error.strerror}", hint="name a file, or - for standard input"
        ) from error


def _read_from(file: BinaryIO, most: int) -> tuple[bytes, int]:
    body = file.read(most)
    return body, len(body) if len(body) < most else os.fstat(file.fileno()).st_size
