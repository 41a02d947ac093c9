"""What is asked of the writer at the same time, and the one transaction that it becomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import apsw

from conductor_loop.adapters.journal.rows import Statements
from conductor_loop.core.records import Entry

# What nobody hurries with goes along with the next commit, and saves a sync of its own.
_PATIENCE_SECONDS = 0.02


@dataclass(slots=True)
class Request:
    """One call; it is committed together with whatever else waits."""

    statements: Statements
    done: asyncio.Future[None]
    last_seq: int
    entries: Sequence[Entry | None] = ()
    can_wait: bool = False


def gather(
    first: Request, requests: SimpleQueue[Request | None], patience: float = _PATIENCE_SECONDS
) -> tuple[list[Request], bool]:
    """What waits now, and whether it is the last; waits `patience` seconds while nobody hurries."""
    batch, hurries = [first], not first.can_wait
    deadline = time.monotonic() + patience
    while True:
        left = 0.0 if hurries else max(0.0, deadline - time.monotonic())
        try:
            request = requests.get(left > 0, left)
        except Empty:
            return batch, False
        if request is None:
            return batch, True
        hurries = hurries or not request.can_wait
        batch.append(request)


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """All or nothing, like apsw's own; but that holds the interpreter lock while its commit syncs
    (seen with 3.54: the event loop stood still for as long), and a statement does not."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors, a full disk among them, have rolled it back already (sqlite.org/c3ref/step).
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
