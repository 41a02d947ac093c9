"""Control requests carried out: from words to steering, with or without a daemon."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from conductor_loop.conductor.steering import Operator, Steering
from conductor_loop.core.contract import is_label, is_subdomain
from conductor_loop.core.control import (
    Cancel,
    Check,
    Health,
    Look,
    Pause,
    Reload,
    Reply,
    Request,
    Resume,
    Retry,
    RotateKey,
)
from conductor_loop.core.faults import ConductorError, Fault, UsageError
from conductor_loop.core.intent import Target
from conductor_loop.core.protection import Protections
from conductor_loop.core.vitals import Vitals, encode

Checks = Callable[[], Sequence[Check]]
Rotate = Callable[[str], str]
"""Signs with a new key, in an operator's name, and names the key. Raises ConductorError."""
ReadAgain = Callable[[str], tuple[Sequence[str], Sequence[str]]]
"""Reads the settings again, in an operator's name: those that changed, those that need a restart.
Raises ConductorError, and then nothing has changed."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a daemon sees of itself when it is asked."""

    checks: Checks
    look: Callable[[], Vitals]
    protections: Protections
    """Settled at its start; no setting behind them changes while it runs."""


class Control:
    """Answers what comes through the control socket or from a command that holds the lock."""

    def __init__(
        self,
        steering: Steering,
        sight: Sight,
        rotate: Rotate,
        read_again: ReadAgain,
    ) -> None:
        self._steering = steering
        self._sight = sight
        self._rotate = rotate
        self._read_again = read_again

    async def obey(self, request: Request, by: str) -> Reply:
        """Carry out a request. Raises ConductorError; of several intents each is refused alone."""
        match request:
            case Health():
                return Reply(checks=tuple(self._sight.checks()), pid=os.getpid())
            case Look():
                return self._seen()
            case Pause(target, why):
                await self._steering.pause(Operator(by, why), parse_target(target or None))
                return Reply(pid=os.getpid())
            case Resume(target, why):
                return await self._resume(Operator(by, why), target_on_record(target))
            case Cancel(intent_id, target, why):
                cancelled = await self._steering.cancel(
                    Operator(by, why),
                    intent_id=intent_id or None,
                    target=parse_target(target or None),
                )
                return Reply(tuple(cancelled), pid=os.getpid())
            case Retry():
                return await self._retry(request, by)
            case RotateKey():
                return Reply(pid=os.getpid(), kid=self._rotate(by))
            case Reload():
                changed, waiting = self._read_again(by)
                return Reply(pid=os.getpid(), changed=tuple(changed), needs_restart=tuple(waiting))

    def _seen(self) -> Reply:
        vitals = msgspec.Raw(encode(self._sight.look()).rstrip())
        return Reply(vitals=vitals, protections=self._sight.protections, pid=os.getpid())

    async def _resume(self, operator: Operator, target: Target | None) -> Reply:
        was_paused = self._steering.is_paused(target)
        accepted = await self._steering.resume(operator, target)
        return Reply(
            pid=os.getpid(),
            porch_sha256=accepted,
            still_paused=tuple(self._steering.pauses()),
            was_paused=was_paused,
        )

    async def _retry(self, request: Retry, by: str) -> Reply:
        new_ids: list[str] = []
        refusals: list[Fault] = []
        for intent_id in request.intent_ids:
            operator = Operator(by, request.why)
            try:
                new_id = await self._steering.retry(operator, intent_id, force=request.force)
            except ConductorError as error:
                refusals.append(Fault(error.code, error.message, error.hint, intent_id))
            else:
                new_ids.append(new_id)
        return Reply(tuple(new_ids), tuple(refusals), pid=os.getpid())


def parse_target(text: str | None) -> Target | None:
    """Read `namespace/target`, as intents may name it; None for None. Raises UsageError."""
    if text is None:
        return None
    namespace, _, name = text.partition("/")
    if not (is_label(namespace) and is_subdomain(name)):
        raise UsageError(
            f"{text!r} is no target", hint="give it as NAMESPACE/TARGET, as in the intent"
        )
    return Target(namespace, name)


def target_on_record(text: str) -> Target | None:
    """The target of a pause that the journal knows; None for the pause of everything.

    Its name is not judged: it may be older than the rule for names.
    """
    namespace, _, name = text.partition("/")
    return Target(namespace, name) if text else None
