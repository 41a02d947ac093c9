"""What a dead daemon left running goes back to waiting, before anything else happens."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from conductor_loop.core.records import Record, Unfinished
from conductor_loop.core.settlement import RetryPolicy, Tally, recover
from conductor_loop.core.states import State
from conductor_loop.core.wording import counted
from conductor_loop.ports import Catalog, Journal

_log = logging.getLogger("conductor_loop.conductor")


async def recover_running(
    journal: Journal, catalog: Catalog, policy: RetryPolicy
) -> Sequence[Unfinished]:
    """Judge every attempt that was cut short; return all that is unfinished afterwards."""
    unfinished = catalog.unfinished()
    running = [item for item in unfinished if item.state is State.RUNNING]
    if not running:
        return unfinished
    cut = counted(len(running), "attempt was", "attempts were")
    _log.warning("%s cut short by the end of the last daemon", cut)
    await journal.record(
        [
            Record(
                i.intent_id, recover(Tally(i.runs, i.failures, i.crashes), "daemon_ended", policy)
            )
            for i in running
        ]
    )
    return catalog.unfinished()
