"""The whole loop against a model: any mix of hand-overs, outcomes, operators, kills, restarts.

`THOROUGH=1` looks for minutes instead of seconds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.conductor.steering import Operator, Refused
from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Failed,
    FailureKind,
    HandedBack,
    Published,
    Rejected,
    RetryScheduled,
    Skipped,
    SkipReason,
    Started,
    TimedOut,
)
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Entry
from conductor_loop.core.states import FINAL, RETRIABLE, State, evolve
from tests.fakes import FakeClock, delivered, intent_bytes, undelivered
from tests.steered import Life, Setting, World

A, B = Target("ns", "a"), Target("ns", "b")
NAMES = [b"intent-x.json", b"intent-y.json"]
ANN = Operator("ann", "because")
THOROUGH = bool(os.environ.get("THOROUGH"))
# Kills here are those of a process, which no disk notices: memory does, and is much faster.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_MOST_ROUNDS = 500
NO_INTENT = b'{"intent_type": "scaling"}'
TURNS = st.sampled_from([0, 1, 2, 3, 5, 8, 13, 1_000])
"""How far the daemon gets before the next thing happens; the last: as far as it can."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """One file as the model remembers it."""

    name: bytes
    body: bytes
    target: Target | None


@dataclass(slots=True)
class Model:
    """What must come true in the end."""

    files: dict[str, HandedOver] = field(default_factory=dict)
    retries: dict[str, str] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    """Entries that the views refused for a while, and so see out of order."""


class AnyMixOfEvents(RuleBasedStateMachine):
    """Real journal, backlog, work, intake, relay and steering; source, publisher, clock steered."""

    @initialize(
        workers=st.integers(1, 3),
        max_attempts=st.integers(1, 3),
        capacity=st.sampled_from([2, 1024]),
        supersede=st.booleans(),
    )
    def start(self, workers: int, max_attempts: int, capacity: int, supersede: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="conductor-model-", dir=MEMORY))
        self.lives = 0
        self.clock = FakeClock()
        self.setting = Setting(
            workers=workers, max_attempts=max_attempts, capacity=capacity, supersede=supersede
        )
        self.model = Model()
        (self.folder / "0").mkdir()
        self.life = Life(World(self.folder / "0"), self.clock, self.setting)

    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        try:
            self.end_everything()
            Ending(self.life, self.model, self.setting).check()
        finally:
            self.life.end()
            shutil.rmtree(self.folder)

    # What happens outside.

    @rule(
        to=st.sampled_from([A, B]),
        name=st.sampled_from(NAMES),
        replicas=st.sampled_from([3, 5]),
        turns=TURNS,
    )
    def hand_over(self, to: Target, name: bytes, replicas: int, turns: int) -> None:
        body = intent_bytes(to, replicas)
        self.model.files[self.life.source.offer(name, body)] = HandedOver(name, body, to)
        self.go_on(turns)

    @rule(to=st.sampled_from([A, B]), replicas=st.lists(st.integers(1, 9), min_size=2, max_size=4))
    def hand_over_several(self, to: Target, replicas: list[int]) -> None:
        for number in replicas:
            self.hand_over(to, NAMES[0], number, turns=0)

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), turns=TURNS)
    def hand_over_again(self, data: st.DataObject, turns: int) -> None:
        file = data.draw(st.sampled_from(list(self.model.files.values())[-3:]))
        self.model.files[self.life.source.offer(file.name, file.body)] = file
        self.go_on(turns)

    @rule(name=st.sampled_from(NAMES), turns=TURNS)
    def hand_over_what_is_no_intent(self, name: bytes, turns: int) -> None:
        file = HandedOver(name, NO_INTENT, None)
        self.model.files[self.life.source.offer(name, NO_INTENT)] = file
        self.go_on(turns)

    @precondition(lambda self: self.life.publisher.endable)
    @rule(
        data=st.data(),
        kind=st.sampled_from([None, None, *FailureKind]),
        turns=TURNS,
    )
    def end_an_attempt(self, data: st.DataObject, kind: FailureKind | None, turns: int) -> None:
        intent_id = data.draw(st.sampled_from(self.life.publisher.endable))
        outcome = undelivered(self.clock, kind) if kind else delivered(self.clock)
        self.life.publisher.end(intent_id, outcome)
        self.go_on(turns)

    @precondition(lambda self: self.life.publisher.endable)
    @rule(data=st.data(), turns=TURNS)
    def break_an_attempt(self, data: st.DataObject, turns: int) -> None:
        intent_id = data.draw(st.sampled_from(self.life.publisher.endable))
        self.life.publisher.end(intent_id, RuntimeError("made up"))
        self.go_on(turns)

    @rule(seconds=st.sampled_from([0.05, 1.0, 5.0, 70.0]), turns=TURNS)
    def let_time_pass(self, seconds: float, turns: int) -> None:
        self.clock.advance(seconds)
        self.go_on(turns)

    @rule(turns=TURNS)
    def go_on(self, turns: int) -> None:
        if turns >= 1_000:
            self.life.go_on()
            return
        for _ in range(turns):
            self.life.turn()

    @precondition(lambda self: self.life.journal.is_asked)
    @rule()
    def commit_at_once(self) -> None:
        self.life.journal.commit()

    @rule(fail=st.booleans())
    def let_views_fail_for_now(self, fail: bool) -> None:
        self.life.world.views_fail = fail

    @rule(ahead=st.integers(1, 3))
    def let_views_refuse_an_entry(self, ahead: int) -> None:
        seq = self.life.journal.reader.last_seq() + ahead
        self.life.world.refused.add(seq)
        self.model.refused.add(seq)

    # Operators.

    @rule(what=st.sampled_from([None, A, B]))
    def pause(self, what: Target | None) -> None:
        self.life.ask(self.life.conductor.steering.pause(ANN, what))
        self.life.publisher.forbidden.add(what)

    @rule(what=st.sampled_from([None, A, B]))
    def resume(self, what: Target | None) -> None:
        self.life.publisher.forbidden.discard(what)
        self.life.ask(self.life.conductor.steering.resume(ANN, what))

    @rule(what=st.sampled_from([None, A, B]), turns=TURNS)
    def cancel(self, what: Target | None, turns: int) -> None:
        self._cancel(self.life.conductor.steering.cancel(ANN, target=what), turns)

    @precondition(lambda self: self.life.journal.reader.unfinished())
    @rule(data=st.data(), turns=TURNS)
    def cancel_one(self, data: st.DataObject, turns: int) -> None:
        unfinished = [item.intent_id for item in self.life.journal.reader.unfinished()]
        intent_id = data.draw(st.sampled_from(unfinished))
        self._cancel(self.life.conductor.steering.cancel(ANN, intent_id=intent_id), turns)

    def _cancel(self, request: Coroutine[object, object, Sequence[str]], turns: int) -> None:
        self.life.spawn(request).add_done_callback(self._note_answer)
        self.go_on(turns)

    def _note_answer(self, task: asyncio.Task[Sequence[str]]) -> None:
        """An operator may be refused; what is told as cancelled is skipped by then."""
        life = self.life
        if task.cancelled() or isinstance(task.exception(), Refused):
            return
        if task.exception() is not None:
            life.world.violations.append(repr(task.exception()))
            return
        for intent_id in task.result():
            if life.journal.reader.state(intent_id) is not State.SKIPPED:
                life.world.violations.append(f"{intent_id} is told as cancelled, but is not")

    @precondition(lambda self: self.life.journal.reader.summaries(states=RETRIABLE))
    @rule(data=st.data(), force=st.booleans())
    def retry(self, data: st.DataObject, force: bool) -> None:
        ended = self.life.journal.reader.summaries(states=RETRIABLE)
        old = data.draw(st.sampled_from([summary.intent_id for summary in ended]))
        file = self.model.files[old]
        try:
            new = self.life.ask(self.life.conductor.steering.retry(ANN, old, force=force))
        except Refused:
            assert file.target is None or not force
        else:
            self.model.files[new] = file
            self.model.retries[new] = old

    # Ends and beginnings.

    @rule(turns=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 12, 20]), after_a_commit=st.booleans())
    def kill(self, turns: int, after_a_commit: bool) -> None:
        self.go_on(turns)
        if after_a_commit and self.life.journal.is_asked:
            self.life.journal.commit()
        self.lives += 1
        self._begin(self.life.die(self.folder / str(self.lives)))

    @rule()
    def stop_in_order(self) -> None:
        self._begin(self.life.stop())

    def _begin(self, world: World) -> None:
        forbidden = self.life.publisher.forbidden
        self.life = Life(world, self.clock, self.setting)
        assert self.life.publisher.forbidden == forbidden

    @invariant()
    def nothing_forbidden_has_happened(self) -> None:
        if hasattr(self, "life"):
            assert self.life.world.violations == []

    def end_everything(self) -> None:
        """Let every obstacle vanish and every attempt deliver; all must become final."""
        self.life.world.views_fail = False
        self.life.world.refused.clear()
        for target in (None, A, B):
            self.resume(target)
        for _ in range(_MOST_ROUNDS):
            if self._is_over():
                break
            for intent_id in self.life.publisher.endable:
                self.life.publisher.end(intent_id, delivered(self.clock))
            self.clock.advance(31.0)
            self.life.go_on()
        assert self._is_over(), self.life.journal.reader.unfinished()
        self.stop_in_order()  # what views had refused is tried again at the next start
        self.life.go_on()

    def _is_over(self) -> bool:
        reader = self.life.journal.reader
        waiting = self.life.world.claims.handed_over or reader.unfinished()
        return not waiting and reader.position() == reader.last_seq()


class Ending:
    """Everything that must be true when all is final."""

    def __init__(self, life: Life, model: Model, setting: Setting) -> None:
        self.world = life.world
        self.reader = life.journal.reader
        self.model = model
        self.setting = setting
        self.entries = self.reader.after(0, 1_000_000)
        self.stories: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.intent_id is not None:
                self.stories.setdefault(entry.intent_id, []).append(entry)

        self.published = {i for i, s in self.stories.items() if isinstance(s[-1].event, Published)}

    def check(self) -> None:
        assert self.stories.keys() == self.model.files.keys()
        for intent_id, story in self.stories.items():
            self._check_story(intent_id, story)
            self._check_environment(intent_id, story)
        self._check_admissions()
        self._check_skips()
        self._check_order()
        self._check_views()
        self._check_file()

    def _check_story(self, intent_id: str, story: list[Entry]) -> None:
        """One final event, the last one; attempts numbered; no more counted than allowed."""
        state = State.NEW
        for entry in story:
            assert state not in FINAL
            state = evolve(state, entry.event)  # type: ignore[arg-type] # it has an intent
        assert state in FINAL
        events = [entry.event for entry in story]
        starts = [event.attempt for event in events if isinstance(event, Started)]
        assert starts == list(range(1, len(starts) + 1))
        retries = sum(isinstance(event, RetryScheduled) for event in events)
        assert retries < self.setting.max_attempts
        if _gave_up(events[-1]):
            assert retries + 1 == self.setting.max_attempts
        summary = self.reader.summary(intent_id)
        assert summary is not None
        assert (summary.state, summary.runs, summary.failures) == (state, len(starts), retries)

    def _check_environment(self, intent_id: str, story: list[Entry]) -> None:
        """An outage counts only against whom it spared while others had answers."""
        suspected: int | None = None
        for entry in story:
            match entry.event:
                case HandedBack(cause="environment"):
                    suspected = suspected or entry.seq
                case Failed(failure=failure) | RetryScheduled(failure=failure):
                    if failure.kind is FailureKind.ENVIRONMENT:
                        assert suspected is not None
                        assert self._was_answered(intent_id, suspected, entry.seq)

    def _was_answered(self, intent_id: str, after: int, before: int) -> bool:
        return any(
            _is_answer(entry.event) and entry.intent_id != intent_id
            for entry in self.entries
            if after < entry.seq < before
        )

    def _check_admissions(self) -> None:
        """Each file was judged by what was so at some moment between its arrival and its entry."""
        states: dict[str, State] = {}
        newest: dict[Target, str] = {}
        before: list[dict[Target, tuple[str, State]]] = [{}]
        for entry in self.entries:
            if entry.intent_id is not None and entry.intent_id not in states:
                self._check_admission(entry, before)
                if isinstance(entry.event, Admitted):
                    newest[Target(entry.event.namespace, entry.event.target)] = entry.intent_id
            if entry.intent_id is not None:
                state = states.get(entry.intent_id, State.NEW)
                states[entry.intent_id] = evolve(state, entry.event)  # type: ignore[arg-type] # it has an intent
            before.append({target: (first, states[first]) for target, first in newest.items()})

    def _check_admission(self, entry: Entry, before: list[dict[Target, tuple[str, State]]]) -> None:
        assert entry.intent_id is not None
        file = self.model.files[entry.intent_id]
        if entry.intent_id in self.model.retries:
            assert isinstance(entry.event, Admitted)
            assert entry.event.retry_of == self.model.retries[entry.intent_id]
            return
        if file.target is None:
            assert isinstance(entry.event, Rejected)
            return
        first = entry.event.first if isinstance(entry.event, Duplicated) else None
        since = self.world.judged_from[entry.intent_id]
        assert first in [self._twin(file, moment) for moment in before[since : entry.seq]]

    def _twin(self, file: HandedOver, moment: dict[Target, tuple[str, State]]) -> str | None:
        """The id of which a file is a duplicate at some moment."""
        assert file.target is not None
        first, state = moment.get(file.target, ("", State.FAILED))
        if state in RETRIABLE or self.model.files[first] != file:
            return None
        return first

    def _check_skips(self) -> None:
        for story in self.stories.values():
            last = story[-1].event
            if not isinstance(last, Skipped):
                continue
            if last.reason is SkipReason.SUPERSEDED:
                assert self.setting.supersede
                assert last.superseded_by is not None
                newer = self.stories[last.superseded_by][0]
                assert newer.target == story[0].target
                assert newer.seq > story[0].seq
            else:
                assert (last.reason, last.by) == (SkipReason.CANCELLED, ANN.by)

    def _check_order(self) -> None:
        """What was applied to a target follows the order of its hand-overs."""
        admitted = [e for e in self.entries if isinstance(e.event, Admitted)]
        place = {entry.intent_id: entry.seq for entry in admitted}
        for target in (A, B):
            ids = [e.intent_id for e in admitted if e.target == target and e.retry_of is None]
            assert ids == sorted(ids, key=str)
            # A crash repeats the last one; nothing older ever comes again.
            applied = [lease.intent_id for lease in self.world.delivered if lease.target == target]
            assert [place[i] for i in applied] == sorted(place[i] for i in applied)
            published = {e.intent_id for e in admitted if e.target == target} & self.published
            assert published <= set(applied)
        for lease in self.world.delivered:
            assert lease.body == self.model.files[lease.intent_id].body

    def _check_views(self) -> None:
        """Every view saw every entry, in order but for refused ones; each file has its place."""
        everything = [entry.seq for entry in self.entries]
        for seen in self.world.seen.values():
            assert sorted(seen) == everything
            in_order = [seq for seq in seen if seq not in self.model.refused]
            assert in_order == sorted(in_order)
        assert self.reader.parked() == []
        assert self.world.claims.claimed == {}
        assert self.world.filed.keys() == self.stories.keys()
        for intent_id, place in self.world.filed.items():
            summary = self.reader.summary(intent_id)
            assert summary is not None
            assert summary.filed == place

    def _check_file(self) -> None:
        path = str(self.world.folder / FILE_NAME)
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        connection.close()


def _gave_up(event: object) -> bool:
    if isinstance(event, TimedOut):
        return True
    return isinstance(event, Failed) and event.failure.kind is not FailureKind.PERMANENT


def _is_answer(event: object) -> bool:
    if isinstance(event, Failed):
        return event.failure.kind is FailureKind.PERMANENT
    return isinstance(event, Published)


TestAnyMixOfEvents = AnyMixOfEvents.TestCase
TestAnyMixOfEvents.settings = settings(
    max_examples=2_000 if THOROUGH else 60,
    stateful_step_count=80 if THOROUGH else 40,
    suppress_health_check=[HealthCheck.too_slow],
)
