"""Intake: claims what is complete, admits it, and puts it in order."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from conductor_loop.conductor.backlog import Backlog
from conductor_loop.core.admission import admit
from conductor_loop.core.arrival import Arrival, Content
from conductor_loop.core.events import Admitted
from conductor_loop.core.intent import Target
from conductor_loop.core.reading import IntakeRules
from conductor_loop.core.records import Known, Record, waiting_intent
from conductor_loop.core.states import State
from conductor_loop.ports import Catalog, Journal, Source

_BATCH = 128
"""Files claimed and admitted at once: enough that one sync and one commit are shared by many."""


class Journalled(Container[str]):
    """The ids that the journal knows, asked one by one."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __contains__(self, intent_id: object) -> bool:
        return isinstance(intent_id, str) and bool(self._catalog.known_ids([intent_id]))


class Intake:
    """From the source into the journal and the backlog."""

    def __init__(
        self,
        source: Source,
        journal: Journal,
        catalog: Catalog,
        backlog: Backlog,
        rules: IntakeRules,
    ) -> None:
        self._source = source
        self._journal = journal
        self._catalog = catalog
        self._backlog = backlog
        self.rules = rules
        """What is judged by; may be exchanged."""

    async def take_leftovers(self) -> None:
        """Admit what a dead daemon claimed and did not get to journal, under the ids it chose."""
        leftovers = await self._source.leftovers(Journalled(self._catalog))
        for start in range(0, len(leftovers), _BATCH):
            await self._admit(leftovers[start : start + _BATCH])

    async def run(self) -> None:
        """Take files as long as the source has any and the backlog has room."""
        while True:
            room = await self._backlog.room()
            arrivals = await self._source.take(min(room, _BATCH))
            if not arrivals:
                return
            await self._admit(arrivals)

    async def _admit(self, arrivals: Sequence[Arrival]) -> None:
        async with self._backlog.admitting:
            records = list(self._judge(arrivals))
            seqs = await self._journal.record(records)
            # All at once: nothing may run, or be superseded, before the whole batch is in order.
            await self._backlog.add(
                [
                    waiting_intent(record.intent_id, record.event, seq)
                    for record, seq in zip(records, seqs, strict=True)
                    if isinstance(record.event, Admitted) and record.intent_id is not None
                ]
            )

    def _judge(self, arrivals: Sequence[Arrival]) -> Iterator[Record]:
        # Files of one batch must see each other: the journal does not know them yet.
        fresh: dict[Target, Known] = {}

        def newest(target: Target) -> Known | None:
            return fresh.get(target) or self._catalog.newest(target)

        for arrival in arrivals:
            event = admit(arrival, self.rules, newest, self._catalog.imported)
            if isinstance(event, Admitted):
                target = Target(event.namespace, event.target)
                fresh[target] = _known(arrival.intent_id, event)
            yield Record(arrival.intent_id, event, _body(arrival))


def _body(arrival: Arrival) -> bytes | None:
    return arrival.content.body if isinstance(arrival.content, Content) else None


def _known(intent_id: str, event: Admitted) -> Known:
    return Known(intent_id, event.receipt.name, event.receipt.digest, State.WAITING)
