"""What the loops do together, step by step: order, outages, operators, ends and beginnings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.conductor.daemon import Hindrance
from conductor_loop.conductor.steering import Operator, Refused
from conductor_loop.core.arrival import Abandoned, Lease
from conductor_loop.core.events import (
    Admitted,
    BreakerClosed,
    BreakerOpened,
    Failed,
    FailureKind,
    HandedBack,
    Noticed,
    Published,
    RetryScheduled,
    Skipped,
    SkipReason,
    Started,
    Tidied,
)
from conductor_loop.core.intent import Target
from conductor_loop.core.namespaces import NamespacePolicy
from conductor_loop.core.states import State
from tests.fakes import FakeClock, delivered, intent_bytes, undelivered
from tests.steered import GRACE, Life, Setting, World

A, B, C = (Target("ns", name) for name in "abc")
ANN = Operator("ann", "because")
PERMANENT, TEMPORARY, TIMEOUT, CRASHED, ENVIRONMENT = FailureKind


@dataclass(slots=True)
class Stage:
    """A folder, a clock, and one daemon after the other."""

    folder: Path
    setting: Setting = field(default_factory=Setting)
    clock: FakeClock = field(default_factory=FakeClock)
    lives: list[Life] = field(default_factory=list)

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def begin(self, **setting: object) -> None:
        self.setting = Setting(**setting)  # type: ignore[arg-type] # test sugar
        (self.folder / "0").mkdir()
        self.lives.append(Life(World(self.folder / "0"), self.clock, self.setting))
        self.life.go_on()

    def kill(self) -> None:
        world = self.life.die(self.folder / str(len(self.lives)))
        self.lives.append(Life(world, self.clock, self.setting))

    def restart(self) -> None:
        self.lives.append(Life(self.life.stop(), self.clock, self.setting))

    def hand_over(self, target: Target, replicas: int = 3, name: bytes = b"intent-x.json") -> str:
        intent_id = self.life.source.offer(name, intent_bytes(target, replicas))
        self.life.go_on()
        return intent_id

    def end(self, intent_id: str, kind: FailureKind | None = None) -> None:
        outcome = undelivered(self.clock, kind) if kind else delivered(self.clock)
        self.life.publisher.end(intent_id, outcome)
        self.life.go_on()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.life.go_on()

    def work_off(self, answer: Callable[[str], FailureKind | None] = lambda _: None) -> None:
        """End every attempt as `answer` says, until a minute brings no new one."""
        for _ in range(1_000):
            for intent_id in self.life.publisher.endable:
                self.end(intent_id, answer(intent_id))
            self.pass_time(31)
            if not self.life.publisher.endable:
                return
        raise AssertionError("it never ends")

    def state(self, intent_id: str) -> State:
        return self.life.journal.reader.state(intent_id)

    def story(self, intent_id: str) -> list[type]:
        return [type(entry.event) for entry in self.life.journal.reader.history(intent_id)]

    def service_events(self) -> list[type]:
        entries = self.life.journal.after(0, 10_000)
        return [type(entry.event) for entry in entries if entry.intent_id is None]

    def applied(self, target: Target) -> list[bytes]:
        return [x.body for x in self.life.world.delivered if x.target == target]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    assert stage.life.world.violations == []
    stage.life.end()


# Order.


def test_scaling_to_three_to_five_and_back_to_three_ends_at_three(stage: Stage) -> None:
    stage.begin()
    for replicas in (3, 5, 3):
        stage.hand_over(A, replicas)
    stage.work_off()

    assert stage.applied(A) == [intent_bytes(A, n) for n in (3, 5, 3)]


def test_a_backoff_holds_up_its_target_and_no_other(stage: Stage) -> None:
    stage.begin()
    first, second, other = stage.hand_over(A, 1), stage.hand_over(A, 2), stage.hand_over(B)
    stage.end(first, TEMPORARY)

    assert list(stage.life.publisher.running) == [other]
    stage.pass_time(1)
    assert list(stage.life.publisher.running) == [other, first]
    stage.work_off()
    assert stage.applied(A) == [intent_bytes(A, 1), intent_bytes(A, 2)]
    assert stage.state(second) is State.PUBLISHED


def test_a_backoff_outlives_the_daemon(stage: Stage) -> None:
    stage.begin()
    first = stage.hand_over(A)
    stage.end(first, TEMPORARY)
    stage.kill()
    stage.life.go_on()

    assert stage.life.publisher.endable == []
    stage.pass_time(1)
    assert stage.life.publisher.endable == [first]


@pytest.mark.parametrize(
    ("padding", "fewest", "most"),
    [(0, 40, 60), (1 << 20, 2, 12)],
    ids=["small ones", "large ones"],
)
def test_short_runs_are_begun_ahead_as_far_as_memory_allows(
    stage: Stage, padding: int, fewest: int, most: int
) -> None:
    stage.begin()
    stage.end(stage.hand_over(A))  # it was short
    for number in range(80):
        document = json.loads(intent_bytes(Target("ns", f"t{number}"), 3))
        document["metadata"] = {"padding": "x" * padding}
        stage.life.source.offer(b"intent-%d.json" % number, json.dumps(document).encode())
    stage.life.go_on()

    assert fewest <= stage.life.journal.reader.counts()[State.RUNNING] <= most
    stage.work_off()
    assert len(stage.life.world.delivered) == 81


def test_a_full_queue_leaves_files_in_the_folder(stage: Stage) -> None:
    stage.begin(capacity=2, workers=1)
    ids = [stage.hand_over(A, replicas) for replicas in range(1, 6)]

    assert len(stage.life.world.claims.handed_over) == 3
    stage.end(ids[0])
    assert len(stage.life.world.claims.handed_over) == 2
    stage.work_off()
    assert [stage.state(intent_id) for intent_id in ids] == [State.PUBLISHED] * 5


def test_with_supersede_only_the_newest_waiting_intent_of_a_target_runs(stage: Stage) -> None:
    stage.begin(supersede=True)
    running, older, other, newest = (
        stage.hand_over(A, 1), stage.hand_over(A, 2), stage.hand_over(B), stage.hand_over(A, 3)
    )  # fmt: skip
    stage.work_off()

    skipped = stage.life.journal.reader.history(older)[-1].event
    assert skipped == Skipped(SkipReason.SUPERSEDED, superseded_by=newest)
    published = [stage.state(i) for i in (running, other, newest)]
    assert published == [State.PUBLISHED] * 3


def test_what_waits_longer_than_max_wait_expires(stage: Stage) -> None:
    stage.begin(workers=1, max_wait=timedelta(minutes=1))
    running, waiting = stage.hand_over(A), stage.hand_over(B)
    stage.pass_time(59)
    assert stage.state(waiting) is State.WAITING

    stage.pass_time(2)

    skipped = stage.life.journal.reader.history(waiting)[-1].event
    assert skipped == Skipped(SkipReason.EXPIRED, why="waited longer than 60 s")
    assert stage.state(running) is State.RUNNING


# Outages.


def test_an_outage_fails_nobody_and_afterwards_all_are_done_in_order(stage: Stage) -> None:
    stage.begin(workers=2, max_attempts=1)
    ids = [stage.hand_over(target, n) for n in range(1, 5) for target in (A, B, C)]
    for _ in range(20):
        for intent_id in stage.life.publisher.endable:
            stage.end(intent_id, ENVIRONMENT)
        stage.pass_time(31)
    assert {stage.state(intent_id) for intent_id in ids} <= {State.WAITING, State.RUNNING}

    stage.work_off()

    assert {stage.state(intent_id) for intent_id in ids} == {State.PUBLISHED}
    for target in (A, B, C):
        assert stage.applied(target) == [intent_bytes(target, n) for n in range(1, 5)]
    assert stage.service_events() == [BreakerOpened, BreakerClosed]


def test_while_the_breaker_is_open_one_probe_runs_at_a_time(stage: Stage) -> None:
    stage.begin(workers=3)
    first = stage.hand_over(A)
    stage.end(first, ENVIRONMENT)
    second, third = stage.hand_over(B), stage.hand_over(C)

    assert stage.life.publisher.endable == []
    stage.pass_time(1)
    assert stage.life.publisher.endable == [second]
    stage.end(second)
    assert set(stage.life.publisher.endable) == {first, third}


def test_an_intent_that_alone_fails_so_is_given_up_and_the_others_go_on(stage: Stage) -> None:
    stage.begin(max_attempts=2)
    bad = stage.hand_over(A)
    good = [stage.hand_over(target, n) for target in (B, C) for n in range(3)]
    stage.work_off(lambda intent_id: ENVIRONMENT if intent_id == bad else None)

    assert stage.state(bad) is State.FAILED
    assert {stage.state(intent_id) for intent_id in good} == {State.PUBLISHED}


def test_a_cancelled_probe_makes_way_for_the_next(stage: Stage) -> None:
    stage.begin()
    first = stage.hand_over(A)
    stage.end(first, ENVIRONMENT)
    second, third = stage.hand_over(B), stage.hand_over(C)
    stage.pass_time(1)
    stage.life.ask(stage.life.conductor.steering.cancel(ANN, intent_id=second))
    stage.pass_time(31)

    assert stage.state(second) is State.SKIPPED
    assert stage.life.publisher.endable == [third]


def test_whoever_waits_for_an_outage_to_end_may_give_up_and_keeps_all(stage: Stage) -> None:
    stage.begin(longest_pause=timedelta(seconds=30))
    first, second = stage.hand_over(A), stage.hand_over(B)
    stage.life.source.drain()
    for _ in range(200):
        for intent_id in stage.life.publisher.endable:
            stage.end(intent_id, ENVIRONMENT)
        stage.pass_time(0.5)

    assert stage.life.running.done()
    assert stage.life.conductor.gave_up is Hindrance.OUTAGE
    assert [stage.state(i) for i in (first, second)] == [State.WAITING] * 2


# Operators.


@pytest.mark.parametrize("what", [None, A])
def test_a_pause_starts_nothing_new_outlives_the_daemon_and_ends_when_lifted(
    stage: Stage, what: Target | None
) -> None:
    stage.begin()
    running = stage.hand_over(A, 1)
    stage.life.ask(stage.life.conductor.steering.pause(ANN, what))
    waiting = stage.hand_over(A, 2)
    stage.end(running)
    assert stage.state(running) is State.PUBLISHED

    stage.kill()
    stage.pass_time(60)
    assert stage.life.publisher.endable == []

    stage.life.publisher.forbidden.clear()
    stage.life.ask(stage.life.conductor.steering.resume(ANN, what))
    assert stage.life.publisher.endable == [waiting]


@pytest.mark.parametrize("what", [None, A])
def test_what_is_about_to_start_when_a_pause_is_asked_for_does_not(
    stage: Stage, what: Target | None
) -> None:
    stage.begin()
    taken = stage.life.source.offer(b"intent-x.json", intent_bytes(A, 3))
    while taken not in stage.life.conductor.backlog.running:
        stage.life.turn()
    assert stage.state(taken) is State.WAITING
    stage.life.ask(stage.life.conductor.steering.pause(ANN, what))

    assert stage.story(taken) == [Admitted, Started, HandedBack]
    assert stage.life.publisher.leases == []
    stage.life.ask(stage.life.conductor.steering.resume(ANN, what))
    assert stage.life.publisher.endable == [taken]


def test_a_waiting_intent_that_is_cancelled_never_runs(stage: Stage) -> None:
    stage.begin(workers=1)
    running, waiting = stage.hand_over(A), stage.hand_over(B)
    cancelled = stage.life.ask(stage.life.conductor.steering.cancel(ANN, target=B))
    stage.work_off()

    assert list(cancelled) == [waiting]
    assert stage.story(waiting) == [Admitted, Skipped]
    assert stage.state(running) is State.PUBLISHED


def test_a_running_intent_that_is_cancelled_is_ended(stage: Stage) -> None:
    stage.begin()
    running = stage.hand_over(A)
    stage.life.ask(stage.life.conductor.steering.cancel(ANN, intent_id=running))

    assert stage.story(running) == [Admitted, Started, Skipped]
    assert stage.life.publisher.running == {}


def test_whoever_is_told_that_an_intent_is_cancelled_sees_it_skipped(stage: Stage) -> None:
    stage.begin()
    failing = stage.hand_over(A)
    stage.life.publisher.end(failing, undelivered(stage.clock, TEMPORARY))
    stage.life.turn()
    cancelled = stage.life.ask(stage.life.conductor.steering.cancel(ANN, intent_id=failing))

    assert list(cancelled) == [failing]
    assert stage.state(failing) is State.SKIPPED


def test_a_cancel_that_was_confirmed_outlives_a_kill(stage: Stage) -> None:
    stage.begin()
    running = stage.hand_over(A)
    request = stage.life.spawn(stage.life.conductor.steering.cancel(ANN, intent_id=running))
    for _ in range(100):
        if request.done():
            break
        stage.life.turn()
        stage.clock.advance(0.01)
    assert list(request.result()) == [running]
    stage.kill()

    assert stage.state(running) is State.SKIPPED


def test_what_neither_waits_nor_runs_cannot_be_cancelled(stage: Stage) -> None:
    stage.begin()
    done = stage.hand_over(A)
    stage.work_off()

    with pytest.raises(Refused):
        stage.life.ask(stage.life.conductor.steering.cancel(ANN, intent_id=done))


@pytest.mark.parametrize("kind", [PERMANENT, None], ids=["failed", "cancelled"])
def test_what_ended_without_a_result_can_be_retried_as_a_new_intent(
    stage: Stage, kind: FailureKind | None
) -> None:
    stage.begin()
    old = stage.hand_over(A)
    if kind is None:
        stage.life.ask(stage.life.conductor.steering.cancel(ANN, intent_id=old))
    else:
        stage.end(old, kind)
    new = stage.life.ask(stage.life.conductor.steering.retry(ANN, old))
    stage.work_off()

    admitted = stage.life.journal.reader.history(new)[0].event
    assert isinstance(admitted, Admitted)
    assert (admitted.retry_of, admitted.retried_by) == (old, "ann")
    assert stage.state(new) is State.PUBLISHED
    assert stage.applied(A) == [intent_bytes(A, 3)]


@pytest.mark.parametrize("is_final", [True, False])
def test_what_was_overtaken_is_retried_only_by_force_and_then_comes_last(
    stage: Stage, is_final: bool
) -> None:
    stage.begin()
    old = stage.hand_over(A, 1)
    stage.end(old, PERMANENT)
    newer = stage.hand_over(A, 2)
    if is_final:
        stage.end(newer)
    with pytest.raises(Refused):
        stage.life.ask(stage.life.conductor.steering.retry(ANN, old))

    stage.life.ask(stage.life.conductor.steering.retry(ANN, old, force=True))
    stage.work_off()

    assert stage.applied(A) == [intent_bytes(A, 2), intent_bytes(A, 1)]


def test_of_those_who_retry_one_intent_at_the_same_moment_one_is_heard(stage: Stage) -> None:
    stage.begin()
    old = stage.hand_over(A)
    stage.end(old, PERMANENT)
    steering = stage.life.conductor.steering
    requests = [stage.life.spawn(steering.retry(ANN, old)) for _ in range(8)]
    stage.work_off()

    refused = [request for request in requests if request.exception() is not None]
    assert len(refused) == 7
    assert {type(request.exception()) for request in refused} == {Refused}
    assert stage.applied(A) == [intent_bytes(A, 3)]


def test_a_newer_intent_that_is_being_admitted_overtakes_a_retry(stage: Stage) -> None:
    stage.begin()
    old = stage.hand_over(A, 1)
    stage.end(old, PERMANENT)
    newer = stage.life.source.offer(b"intent-x.json", intent_bytes(A, 2))
    while not stage.life.journal.is_asked:
        stage.life.turn()
    assert stage.state(newer) is State.NEW
    with pytest.raises(Refused):
        stage.life.ask(stage.life.conductor.steering.retry(ANN, old))
    stage.work_off()

    assert stage.applied(A) == [intent_bytes(A, 2)]


def test_the_same_file_again_while_its_retry_is_being_admitted_is_a_duplicate(
    stage: Stage,
) -> None:
    stage.begin()
    old = stage.hand_over(A)
    stage.end(old, PERMANENT)
    request = stage.life.spawn(stage.life.conductor.steering.retry(ANN, old))
    while not stage.life.journal.is_asked:
        stage.life.turn()
    again = stage.life.source.offer(b"intent-x.json", intent_bytes(A, 3))
    stage.work_off()

    assert stage.state(request.result()) is State.PUBLISHED
    assert stage.state(again) is State.DUPLICATE


def test_a_refused_intent_is_not_overtaken_by_what_came_before_it(stage: Stage) -> None:
    stage.begin()
    stage.end(stage.hand_over(A, 1))
    intake = stage.life.conductor.intake
    rules = intake.rules
    intake.rules = replace(rules, namespaces=NamespacePolicy(("other",)))
    refused = stage.hand_over(A, 2)
    assert stage.state(refused) is State.REJECTED
    intake.rules = rules
    stage.life.ask(stage.life.conductor.steering.retry(ANN, refused))
    stage.work_off()

    assert stage.applied(A) == [intent_bytes(A, 1), intent_bytes(A, 2)]


# Ends and beginnings.


def test_a_stop_ends_what_runs_after_the_grace_and_counts_nothing(stage: Stage) -> None:
    stage.begin()
    running = stage.hand_over(A)
    stage.life.conductor.stop()
    stage.life.go_on()
    stage.pass_time(GRACE.total_seconds() - 1)
    assert running in stage.life.publisher.running

    stage.pass_time(2)
    assert stage.life.running.done()
    assert stage.story(running) == [Admitted, Started, HandedBack]
    (left,) = stage.life.journal.reader.unfinished()
    assert (left.state, left.failures, left.crashes) == (State.WAITING, 0, 0)


def test_an_attempt_that_ends_within_the_grace_counts(stage: Stage) -> None:
    stage.begin()
    running = stage.hand_over(A)
    stage.life.conductor.stop()
    stage.end(running)

    assert stage.life.running.done()
    assert stage.state(running) is State.PUBLISHED


def test_a_crash_is_counted_apart_from_failures_and_ends_with_a_verdict(stage: Stage) -> None:
    stage.begin(max_attempts=1, max_crashes=2)
    unlucky = stage.hand_over(A)
    for _ in range(3):
        assert stage.state(unlucky) is State.RUNNING
        stage.kill()
        stage.life.go_on()

    assert stage.story(unlucky) == [
        Admitted, Started, HandedBack, Started, HandedBack, Started, Failed
    ]  # fmt: skip
    assert stage.life.world.filed == {unlucky: "failed"}


def crash_while_running(stage: Stage, culprit: str, what: str) -> None:
    """The daemon, or its spawner, dies as long as the culprit runs; all others end well."""
    while culprit in (running := list(stage.life.publisher.running)):
        if what == "daemon":
            stage.kill()
            stage.life.go_on()
            continue
        for intent_id in running:
            stage.life.publisher.end(intent_id, Abandoned("spawner_ended"))
        stage.life.go_on()


@pytest.mark.parametrize("what", ["daemon", "spawner"])
def test_who_brings_the_daemon_down_ends_failed_and_its_neighbours_are_not_blamed(
    stage: Stage, what: str
) -> None:
    stage.begin(workers=2, max_crashes=4)
    neighbour, culprit = stage.hand_over(A), stage.hand_over(B)
    later = stage.hand_over(C)
    for _ in range(2):
        crash_while_running(stage, culprit, what)
        for intent_id in stage.life.publisher.endable:
            stage.end(intent_id)
    stage.work_off()

    assert stage.state(culprit) is State.FAILED
    assert stage.story(culprit).count(HandedBack) == 4
    assert stage.state(neighbour) is stage.state(later) is State.PUBLISHED
    assert all(stage.story(each).count(HandedBack) <= 2 for each in (neighbour, later))


def test_who_saw_two_crashes_runs_alone_and_in_its_turn(stage: Stage) -> None:
    stage.begin(workers=4)
    first, second = stage.hand_over(A), stage.hand_over(B)
    for _ in range(2):
        stage.kill()
        stage.life.go_on()
    third = stage.hand_over(C)

    assert set(stage.life.publisher.running) == {first}
    stage.end(first)
    assert set(stage.life.publisher.running) == {second}
    stage.end(second)
    assert set(stage.life.publisher.running) == {third}


def test_a_delivery_that_was_not_journalled_is_repeated_and_nothing_older_follows(
    stage: Stage,
) -> None:
    stage.begin()
    first, second = stage.hand_over(A, 1), stage.hand_over(A, 2)
    stage.life.publisher.end(first, delivered(stage.clock))
    stage.kill()
    stage.work_off()

    assert stage.applied(A) == [intent_bytes(A, n) for n in (1, 1, 2)]
    assert stage.state(second) is State.PUBLISHED


def test_a_claim_that_was_not_journalled_is_admitted_under_its_id(stage: Stage) -> None:
    stage.begin()
    claimed = stage.life.source.offer(b"intent-x.json", intent_bytes(A, 3))
    while claimed not in stage.life.world.claims.claimed:
        stage.life.turn()
    assert stage.state(claimed) is State.NEW
    stage.kill()
    stage.work_off()

    assert stage.state(claimed) is State.PUBLISHED
    assert stage.life.world.claims.claimed == {}


def test_an_operator_who_asks_during_the_recovery_is_heard_once(stage: Stage) -> None:
    stage.begin(workers=2)
    old, running = stage.hand_over(A), stage.hand_over(B)
    stage.end(old, PERMANENT)
    stage.kill()
    request = stage.life.spawn(stage.life.conductor.steering.retry(ANN, old))
    stage.work_off()

    assert stage.story(request.result()) == [Admitted, Started, Published]
    assert stage.state(running) is State.PUBLISHED


def test_what_expired_while_no_daemon_ran_is_not_started(stage: Stage) -> None:
    stage.begin(max_wait=timedelta(minutes=1))
    waiting = stage.life.source.offer(b"intent-x.json", intent_bytes(A, 3))
    while stage.state(waiting) is State.NEW:
        stage.life.turn()
    stage.kill()
    stage.pass_time(3_600)

    assert stage.story(waiting) == [Admitted, Skipped]


# Views.


def test_views_that_cannot_be_written_stall_and_catch_up(stage: Stage) -> None:
    stage.begin()
    stage.life.world.views_fail = True
    first = stage.hand_over(A)
    stage.end(first)
    stage.pass_time(60)
    assert stage.life.conductor.hindrance() is Hindrance.VIEWS
    assert stage.life.world.filed == {}

    stage.life.world.views_fail = False
    stage.pass_time(10)
    assert stage.life.conductor.hindrance() is None
    assert stage.life.world.filed == {first: "processed"}


def test_whoever_waits_for_nothing_but_views_may_give_up_on_them(stage: Stage) -> None:
    stage.begin(longest_pause=timedelta(seconds=30))
    first = stage.hand_over(A)
    stage.life.world.views_fail = True
    stage.end(first)
    stage.life.source.drain()
    for _ in range(100):
        stage.pass_time(0.5)

    assert stage.life.running.done()
    assert stage.life.conductor.gave_up is Hindrance.VIEWS
    assert stage.state(first) is State.PUBLISHED


def test_an_entry_that_views_refuse_is_set_aside_and_tried_again_at_the_next_start(
    stage: Stage,
) -> None:
    stage.begin()
    first = stage.hand_over(A)
    stage.life.world.refused.add(3)
    stage.end(first)
    second = stage.hand_over(B)
    stage.work_off()
    assert stage.life.world.filed == {second: "processed"}
    assert [entry.seq for entry, _ in stage.life.journal.parked()] == [3]

    stage.life.world.refused.clear()
    stage.restart()
    stage.life.go_on()

    assert stage.life.world.filed == {first: "processed", second: "processed"}
    assert list(stage.life.journal.parked()) == []


def test_an_entry_that_was_set_aside_is_tried_again_until_the_views_take_it(stage: Stage) -> None:
    stage.begin()
    first = stage.hand_over(A)
    stage.life.world.refused.add(3)
    stage.end(first)
    stage.pass_time(1)
    assert stage.life.conductor.relay.parked_count == 1
    stage.pass_time(60)
    assert stage.life.world.filed == {}

    stage.life.world.refused.clear()
    stage.pass_time(10)

    assert stage.life.conductor.relay.parked_count == 0
    assert list(stage.life.journal.parked()) == []
    assert stage.life.world.filed == {first: "processed"}


def test_the_places_of_files_are_kept_when_the_daemon_dies_while_an_entry_is_set_aside(
    stage: Stage,
) -> None:
    stage.begin(workers=2)
    first, second = stage.hand_over(A), stage.hand_over(B)
    stage.life.world.refused.add(6)
    for intent_id in (first, second):
        stage.life.publisher.end(intent_id, delivered(stage.clock))
    for _ in range(1_000):
        if stage.life.journal.parked():
            break
        stage.life.turn()
        stage.clock.advance(0.01)
    stage.kill()
    stage.work_off()

    summary = stage.life.journal.reader.summary(first)
    assert summary is not None
    assert stage.life.world.filed[first] == "processed"
    assert summary.filed == "processed"


def test_the_place_of_a_file_that_was_set_aside_is_kept_in_one_step(stage: Stage) -> None:
    stage.begin()
    first = stage.hand_over(A)
    stage.life.world.refused.add(3)
    stage.end(first)
    stage.pass_time(1)
    stage.life.world.refused.clear()
    stage.restart()
    while stage.life.journal.parked():
        stage.life.turn()
    stage.kill()
    stage.life.go_on()

    summary = stage.life.journal.reader.summary(first)
    assert summary is not None
    assert summary.filed == "processed"


def test_a_surprise_in_the_publisher_is_a_failed_attempt_of_one_intent(stage: Stage) -> None:
    stage.begin()
    first, second = stage.hand_over(A), stage.hand_over(B)
    stage.life.publisher.end(first, RuntimeError("made up"))
    stage.end(second)
    stage.work_off()

    assert stage.story(first) == [Admitted, Started, RetryScheduled, Started, Published]
    assert stage.state(second) is State.PUBLISHED


def test_an_intent_runs_no_longer_than_it_asks_and_never_longer_than_allowed(
    stage: Stage,
) -> None:
    stage.begin(workers=2)
    for target, timeout in ((A, "5s"), (B, "90s")):
        body = intent_bytes(target, 3)[:-1] + b', "timeout": "%s"}' % timeout.encode()
        stage.life.source.offer(b"intent-x.json", body)
    stage.life.go_on()

    leases: list[Lease] = stage.life.publisher.leases
    assert [lease.timeout for lease in leases] == [timedelta(seconds=5), timedelta(seconds=30)]


# Wrong clocks.

A_DAY, TEN_YEARS = timedelta(days=1), timedelta(days=3_652)


def forgive_wrong_dates(stage: Stage) -> None:
    """The journal's dates, by which the stage judges backoffs, are wrong here on purpose."""
    violations = stage.life.world.violations
    assert all("does not wait out its backoff" in violation for violation in violations)
    violations.clear()


def test_row_24_a_clock_set_years_ahead_deletes_and_expires_nothing(stage: Stage) -> None:
    stage.begin(workers=1, max_wait=timedelta(hours=9), retention=timedelta(days=7))
    done = stage.hand_over(A)
    stage.end(done)
    running, waiting = stage.hand_over(B, 1), stage.hand_over(B, 2)
    stage.clock.wall_ahead = TEN_YEARS
    for _ in range(3):
        stage.pass_time(3_600)

    assert stage.state(done) is State.PUBLISHED
    assert stage.state(waiting) is State.WAITING
    stage.end(running)
    assert stage.state(waiting) is State.RUNNING


@pytest.mark.parametrize("ahead", [-A_DAY, TEN_YEARS])
def test_row_24_a_backoff_takes_its_time_whatever_the_wall_clock_says(
    stage: Stage, ahead: timedelta
) -> None:
    stage.begin()
    first = stage.hand_over(A)
    stage.end(first, TEMPORARY)
    stage.clock.wall_ahead = ahead
    assert stage.life.publisher.endable == []
    stage.pass_time(1)
    assert stage.life.publisher.endable == [first]
    forgive_wrong_dates(stage)


def test_row_24_a_clock_set_back_between_two_starts_holds_nobody_up_for_a_day(
    stage: Stage,
) -> None:
    stage.begin()
    first = stage.hand_over(A)
    stage.end(first, TEMPORARY)
    stage.clock.wall_ahead = -A_DAY
    stage.kill()
    stage.life.go_on()
    stage.pass_time(400)

    assert stage.life.publisher.endable == [first]
    forgive_wrong_dates(stage)


@pytest.mark.parametrize("turns", [0, 4, 8, 12])
def test_what_the_slow_look_sets_aside_is_told_however_soon_the_daemon_stops(
    stage: Stage, turns: int
) -> None:
    stage.begin(retention=timedelta(days=365))
    for target in (A, B, C):
        stage.end(stage.hand_over(target, name=f"intent-{target.name}.json".encode()))
    life = stage.life
    connection = apsw.Connection(str(stage.folder / "0" / FILE_NAME))
    connection.execute("UPDATE intents SET size = 1")
    connection.close()
    stage.clock.advance(3_600)
    for _ in range(turns):
        life.turn()

    life.conductor.stop()
    while not life.running.done():
        stage.pass_time(1)

    aside = {each.intent_id for each in life.journal.reader.damaged()}
    told = {
        entry.event.subject
        for entry in life.journal.reader.after(0, 1_000)
        if isinstance(entry.event, Noticed) and entry.seq in life.world.seen["audit"]
    }
    assert len(aside) == 3
    assert told - {""} == aside


def finish_three(stage: Stage) -> list[str]:
    """Let three intents grow old under a retention of a second, and the next round be due."""
    stage.begin(retention=timedelta(seconds=1))
    done = [stage.hand_over(each, name=f"intent-{each.name}.json".encode()) for each in (A, B, C)]
    for intent_id in done:
        stage.end(intent_id)
    stage.clock.advance(3_600)
    return done


def tidied(stage: Stage) -> list[int]:
    entries = stage.life.journal.reader.after(0, 1_000)
    return [entry.seq for entry in entries if isinstance(entry.event, Tidied)]


@pytest.mark.parametrize("turns", range(1, 9))
def test_what_is_told_of_as_removed_is_removed_however_soon_the_daemon_stops(
    stage: Stage, turns: int
) -> None:
    done = finish_three(stage)
    for _ in range(turns):
        stage.life.turn()

    stage.life.conductor.stop()
    while not stage.life.running.done():
        stage.pass_time(1)

    assert stage.life.world.removed == (done if tidied(stage) else [])
    assert not stage.life.journal.reader.told_to_go()[1]


@pytest.mark.parametrize("retention", [timedelta(0), timedelta(seconds=1)])
def test_the_next_daemon_removes_what_a_killed_one_told_of_whatever_it_keeps_itself(
    stage: Stage, retention: timedelta
) -> None:
    done = finish_three(stage)
    while not tidied(stage):
        stage.life.turn()
    assert not stage.life.world.removed
    stage.setting = Setting(retention=retention)

    stage.kill()
    stage.life.go_on()

    assert stage.life.world.removed == done
    assert not stage.life.journal.reader.told_to_go()[1]
    assert len(tidied(stage)) == 1
