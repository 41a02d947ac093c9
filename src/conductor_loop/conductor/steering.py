"""The operator's hand: pause, resume, cancel, retry; the same with and without a daemon running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from conductor_loop.conductor.backlog import Backlog
from conductor_loop.conductor.work import Work
from conductor_loop.core.admission import IMPORTED
from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    Noticed,
    Paused,
    Resumed,
    Skipped,
    SkipReason,
)
from conductor_loop.core.faults import ConductorError, Fault
from conductor_loop.core.intent import Intent, Target
from conductor_loop.core.records import Entry, Pause, Record, waiting_intent
from conductor_loop.core.security_events import severity_of
from conductor_loop.core.states import FINAL, UNSUCCESSFUL, State
from conductor_loop.ports import Catalog, Clock, Journal


class Refused(ConductorError):
    """What the operator asked for is not possible now; nothing has changed."""

    code = "refused"


def nothing_to_cancel(intent_id: str) -> Refused:
    """What to say of an intent that is final, or was set aside."""
    return Refused(
        f"{intent_id} neither waits nor runs",
        hint=f"see what became of it: conductor-loop why {intent_id}",
    )


@dataclass(frozen=True, slots=True)
class Operator:
    """Who asks, and why."""

    by: str
    why: str = ""


class Steering:
    """Changes that an operator makes; each is an event, durable before it is confirmed."""

    def __init__(
        self,
        journal: Journal,
        catalog: Catalog,
        clock: Clock,
        new_id: Callable[[], str],
        read: Callable[[bytes], Intent | Fault],
        backlog: Backlog,
        work: Work | None,
        recovered: asyncio.Event,
    ) -> None:
        self._journal = journal
        self._catalog = catalog
        self._clock = clock
        self._new_id = new_id
        self.read = read
        """Judges the bytes of a retried intent; may be exchanged."""
        self._backlog = backlog
        self._work = work
        # Nothing changes before all that an earlier daemon left is in order.
        self._recovered = recovered

    async def pause(self, operator: Operator, target: Target | None) -> None:
        """Start nothing new, of everything or of one target; what runs goes on."""
        await self._recovered.wait()
        event = Paused(operator.by, operator.why, str(target or ""))
        await self._journal.record([Record(None, event)])
        self._backlog.pause(target)
        if self._work is not None:
            await self._work.recall()

    async def resume(self, operator: Operator, target: Target | None) -> str:
        """Lift exactly that pause; whoever lifts the whole one also accepts a replaced program.

        Only one that the daemon told of: nobody accepts what they cannot know. Returns its hash,
        or nothing. Raises ConductorError when it may not be run, and then nothing has changed.
        Where there is nothing to lift or accept, nothing is recorded.
        """
        await self._recovered.wait()
        events: list[Resumed | Noticed] = [Resumed(operator.by, operator.why, str(target or ""))]
        before, accepted = self._replacement() if target is None else ("", "")
        if not accepted and not self.is_paused(target):
            return ""
        if accepted:
            events.insert(0, _accepted(operator, before, accepted))
        await self._journal.record([Record(None, event) for event in events])
        if self._work is not None and accepted:
            self._work.accept(accepted)
        self._backlog.resume(target)
        return accepted

    def is_paused(self, target: Target | None) -> bool:
        """Whether this very pause is in force, of one target or (None) of everything."""
        return any(pause.target == str(target or "") for pause in self.pauses())

    def pauses(self) -> Sequence[Pause]:
        """The pauses in force, by target."""
        return self._catalog.pauses()

    def _replacement(self) -> tuple[str, str]:
        return ("", "") if self._work is None else self._work.replacement()

    async def cancel(
        self, operator: Operator, *, intent_id: str | None = None, target: Target | None = None
    ) -> Sequence[str]:
        """End what waits or runs: one intent, a target's, or (neither given) everything.

        Returns the ids that end as `skipped`; a running one that delivers first stays delivered.
        """
        await self._recovered.wait()
        event = Skipped(SkipReason.CANCELLED, operator.by, operator.why)
        waiting = [i for i in self._backlog.waiting(target) if intent_id in (None, i.intent_id)]
        running = [
            i.intent_id
            for i in self._backlog.running.values()
            if intent_id in (None, i.intent_id) and target in (None, i.target)
        ]
        if intent_id is not None and not waiting and not running:
            raise nothing_to_cancel(intent_id)
        cancelled = [i.intent_id for i in await self._backlog.skip(waiting, event)]
        for running_id in running:
            cancelled += await self._cancel_running(running_id, event)
        return cancelled

    async def _cancel_running(self, intent_id: str, event: Skipped) -> list[str]:
        if self._work is None:
            return []
        if await self._work.cancel(intent_id, event):
            return [intent_id]
        # It had just failed, and would have been tried again.
        waiting = [item for item in self._backlog.waiting() if item.intent_id == intent_id]
        return [item.intent_id for item in await self._backlog.skip(waiting, event)]

    async def retry(self, operator: Operator, intent_id: str, *, force: bool = False) -> str:
        """Admit an unsuccessful intent anew, as the last of its target; return the new id.

        Raises Refused: unknown, not unsuccessful, its bytes no longer kept, or overtaken by a
        newer intent of the target (which `force` overrides).
        """
        await self._recovered.wait()
        async with self._backlog.admitting:
            admitted, body = self._admit_anew(operator, intent_id, force=force)
            new_id = self._new_id()
            (seq,) = await self._journal.record([Record(new_id, admitted, body)])
            await self._backlog.add([waiting_intent(new_id, admitted, seq)])
        return new_id

    def _admit_anew(
        self, operator: Operator, intent_id: str, *, force: bool
    ) -> tuple[Admitted, bytes]:
        entry, body = self._retriable(intent_id)
        intent = self.read(body)
        if isinstance(intent, Fault):
            raise Refused(f"{intent_id} would be rejected: {intent.message}", hint=intent.hint)
        newest = self._catalog.newest(intent.target)
        if newest is not None and newest.seq > entry.seq and not force:
            self._refuse_overtaken(intent_id, intent.target, newest.intent_id, newest.state)
        assert entry.receipt is not None
        admitted = Admitted(
            msgspec.structs.replace(entry.receipt, received_at=self._clock.now()),
            intent.target.namespace,
            intent.target.name,
            intent.priority,
            intent.correlation_id,
            intent.timeout,
            retry_of=intent_id,
            retried_by=operator.by,
            retry_why=operator.why,
        )
        return admitted, body

    def _retriable(self, intent_id: str) -> tuple[Entry, bytes]:
        history = self._catalog.history(intent_id)
        if not history:
            raise Refused(f"no intent {intent_id}", hint="conductor-loop list shows them")
        state = self._catalog.state(intent_id)
        if state not in UNSUCCESSFUL | {State.SKIPPED}:
            word = "is done" if state in FINAL else "is not finished"
            raise Refused(
                f"{intent_id} {word} ({state}); only what failed can be retried",
                hint=_instead_of_retry(intent_id, history[0].event, state),
            )
        try:
            return history[0], self._catalog.body(intent_id)
        except KeyError:
            raise Refused(
                f"the bytes of {intent_id} are not kept", hint="hand the file over again"
            ) from None

    @staticmethod
    def _refuse_overtaken(intent_id: str, target: Target, newer: str, state: State) -> None:
        if state not in FINAL:
            raise Refused(
                f"{newer} of {target} is {state} now; retrying {intent_id} would undo it",
                hint="wait for its verdict, or use --force to run the older one after it",
            )
        raise Refused(
            f"{newer} of {target} is newer than {intent_id} and {state}",
            hint="use --force if the older one really shall be applied over it",
        )


def _instead_of_retry(intent_id: str, first: Event, state: State) -> str:
    match first:
        case Duplicated(first=original) if original != IMPORTED:
            return f"it was never run; the one that it repeats: conductor-loop retry {original}"
        case _ if state not in FINAL:
            return f"wait for its verdict, or end it: conductor-loop cancel {intent_id}"
        case _:
            return (
                f"conductor-loop why {intent_id} tells its result; hand over another to change it"
            )


def _accepted(operator: Operator, before: str, now: str) -> Noticed:
    details = {"previous": before} | ({"why": operator.why} if operator.why else {})
    code = "porch_accepted"
    return Noticed(code, severity_of(code), now, details, operator.by)
