"""Which intent next: rules one by one, then any mix of calls against a plain model."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from conductor_loop.core.intent import Target
from conductor_loop.core.rates import Buckets, Rate
from conductor_loop.core.records import Unfinished
from conductor_loop.core.schedule import Schedule
from conductor_loop.core.states import State
from tests.fakes import BEGINNING, number_id

A, B, C = (Target("ns", name) for name in "abc")
NOW = 1_000.0


def item(seq: int, target: Target = A, priority: int = 5, age: float = 0.0) -> Unfinished:
    return Unfinished(
        intent_id=number_id(seq),
        seq=seq,
        name=b"intent-%d.json" % seq,
        target=target,
        priority=priority,
        received_at=BEGINNING - timedelta(seconds=age),
        state=State.WAITING,
    )


def schedule_of(*items: Unfinished) -> Schedule:
    schedule = Schedule()
    for each in items:
        schedule.add(each)
    return schedule


def drained(schedule: Schedule, now: float = NOW) -> list[int]:
    """Take one after the other, each final before the next."""
    taken = []
    while (chosen := schedule.take(now)) is not None:
        taken.append(chosen.seq)
        schedule.finish(chosen.target)
    return taken


# Namespaces over their rate.


ELSEWHERE = Target("other", "x")


def limited(*items: Unfinished, burst: int = 1) -> Schedule:
    """A namespace may begin `burst` at once, and one a second."""
    schedule = Schedule(Buckets(Rate(1, 1), burst))
    for each in items:
        schedule.add(each)
    return schedule


def test_a_namespace_over_its_rate_holds_up_no_other() -> None:
    schedule = limited(item(1, A), item(2, B), item(3, C), item(4, ELSEWHERE))

    assert drained(schedule) == [1, 4]
    assert schedule.over_rate() == {"ns": 2}
    assert schedule.newly_over() == ["ns"]
    assert schedule.newly_over() == []


def test_what_is_held_goes_on_in_order_a_token_at_a_time() -> None:
    schedule = limited(item(1, A), item(2, A), item(3, B), item(4, A))

    assert drained(schedule) == [1]
    assert schedule.next_wake() == NOW + 1
    assert drained(schedule, NOW + 0.9) == []
    assert drained(schedule, NOW + 1) == [2]
    assert schedule.next_wake() == NOW + 2
    assert drained(schedule, NOW + 2) == [3]
    assert drained(schedule, NOW + 3) == [4]
    assert schedule.next_wake() is None
    assert schedule.over_rate() == {}


def test_of_what_is_held_the_most_urgent_goes_first() -> None:
    schedule = limited(item(1, C), item(2, A), item(3, B, priority=10))

    assert drained(schedule) == [3]
    schedule.add(item(4, Target("ns", "d"), priority=9))
    assert drained(schedule, NOW + 1) == [4]
    assert drained(schedule, NOW + 2) == [1]


def test_tokens_that_gathered_let_as_many_go() -> None:
    schedule = limited(*(item(seq, Target("ns", f"t{seq}")) for seq in range(1, 9)), burst=3)

    assert len(drained(schedule)) == 3
    assert len(drained(schedule, NOW + 60)) == 3
    assert len(drained(schedule, NOW + 61)) == 1


def test_what_is_tried_again_does_not_count_again() -> None:
    schedule = limited(item(1, A), item(2, B))
    first = schedule.take(NOW)
    assert first is not None
    schedule.put_back(replace(first, runs=1))

    assert schedule.take(NOW) == replace(first, runs=1)


def test_what_is_held_counts_as_held_back_once() -> None:
    schedule = limited(item(1, A), item(2, A), item(3, B), item(4, ELSEWHERE))
    assert schedule.held_back() == 0
    assert drained(schedule) == [1, 4]

    assert schedule.held_back() == 2
    schedule.pause(B)
    assert schedule.held_back() == 2
    schedule.pause(ELSEWHERE)
    assert schedule.held_back() == 2


def test_what_is_paused_or_removed_while_it_is_held_wastes_no_token() -> None:
    schedule = limited(item(1, A), item(2, B), item(3, C), item(4, Target("ns", "d")))
    assert drained(schedule) == [1]
    schedule.pause(B)
    assert schedule.remove(number_id(3), C)

    assert drained(schedule, NOW + 1) == [4]
    schedule.resume(B)
    assert drained(schedule, NOW + 1.5) == []
    assert drained(schedule, NOW + 2) == [2]


# One target.


def test_an_empty_schedule_gives_nothing() -> None:
    schedule = Schedule()

    assert schedule.take(NOW) is None
    assert schedule.next_wake() is None


def test_a_target_keeps_journal_order_whatever_the_priorities() -> None:
    assert drained(schedule_of(item(1, priority=0), item(2, priority=10), item(3))) == [1, 2, 3]


def test_one_intent_of_a_target_at_a_time() -> None:
    schedule = schedule_of(item(1), item(2))

    assert schedule.take(NOW) == item(1)
    assert schedule.take(NOW) is None
    schedule.finish(A)
    assert schedule.take(NOW) == item(2)


def test_different_targets_run_side_by_side() -> None:
    schedule = schedule_of(item(1, A), item(2, B))

    assert {schedule.take(NOW), schedule.take(NOW)} == {item(1, A), item(2, B)}


def test_what_is_put_back_is_the_head_again_as_it_was_put_back() -> None:
    schedule = schedule_of(item(1), item(2))
    schedule.take(NOW)
    again = replace(item(1), runs=1)

    schedule.put_back(again)

    assert schedule.take(NOW) == again


def test_the_backoff_of_the_head_holds_the_whole_target_back_and_no_other() -> None:
    schedule = schedule_of(item(1), item(2), item(3, B))
    schedule.take(NOW)
    schedule.put_back(item(1), ready_at=NOW + 5)

    assert schedule.take(NOW) == item(3, B)
    assert schedule.take(NOW + 4.9) is None
    assert schedule.next_wake() == NOW + 5
    assert schedule.take(NOW + 5) == item(1)


def test_a_restored_backoff_is_waited_out() -> None:
    schedule = Schedule()
    schedule.add(item(1), ready_at=NOW + 5)
    schedule.add(item(2))

    assert schedule.take(NOW) is None
    assert drained(schedule, NOW + 5) == [1, 2]


# Between targets.


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (item(2, B, priority=8), item(1, A, priority=5)),
        (item(2, B, priority=5, age=1), item(1, A, priority=5)),
        (item(2, B, priority=0, age=601), item(1, A, priority=10)),
        (item(1, A, priority=10), item(2, B, priority=0, age=599)),
        (item(1, A), item(2, B)),
    ],
    ids=["priority", "age", "ten minutes outweigh ten steps", "a little less", "journal order"],
)
def test_priority_and_age_order_between_targets(first: Unfinished, second: Unfinished) -> None:
    schedule = schedule_of(*sorted([first, second], key=lambda i: i.seq))

    assert drained(schedule) == [first.seq, second.seq]


def test_an_urgent_intent_pulls_forward_what_stands_before_it() -> None:
    schedule = schedule_of(item(1, A, age=100), item(2, B, priority=0), item(3, B, priority=10))

    assert drained(schedule) == [2, 3, 1]


def test_urgency_is_used_up_with_the_intent_that_brought_it() -> None:
    urgent_second = [item(2, B, priority=0), item(3, B, priority=10), item(4, B, priority=0)]
    schedule = schedule_of(item(1, A), *urgent_second)

    assert drained(schedule) == [2, 3, 1, 4]


def test_an_avoided_target_is_given_only_when_there_is_no_other() -> None:
    schedule = schedule_of(item(1, A), item(2, B))

    assert schedule.take(NOW, avoid={A}) == item(2, B)
    assert schedule.take(NOW, avoid={A}) == item(1, A)


def test_what_is_added_late_still_stands_in_journal_order() -> None:
    schedule = schedule_of(item(1, A), item(4, A), item(2, A), item(3, A))

    assert drained(schedule) == [1, 2, 3, 4]


def test_it_is_held_when_all_that_waits_is_of_paused_targets() -> None:
    schedule = schedule_of(item(1, A), item(2, B))
    schedule.pause(A)
    assert not schedule.is_held()

    schedule.pause(B)

    assert schedule.is_held()


# Taking out.


def test_a_removed_intent_is_not_given() -> None:
    schedule = schedule_of(item(1), item(2), item(3))

    assert schedule.remove(number_id(2), A)

    assert drained(schedule) == [1, 3]


def test_nothing_is_given_after_the_only_intent_was_removed() -> None:
    schedule = schedule_of(item(1))

    assert schedule.remove(number_id(1), A)

    assert schedule.take(NOW) is None
    assert len(schedule) == 0


def test_a_target_emptied_by_removal_is_served_again() -> None:
    schedule = schedule_of(item(1))
    schedule.remove(number_id(1), A)

    schedule.add(item(2))

    assert drained(schedule) == [2]


def test_removing_what_runs_or_never_came_is_refused() -> None:
    schedule = schedule_of(item(1))
    schedule.take(NOW)

    assert not schedule.remove(number_id(1), A)
    assert not schedule.remove(number_id(9), B)


def test_the_successor_of_a_removed_head_need_not_wait_out_its_backoff() -> None:
    schedule = schedule_of(item(1), item(2))
    schedule.take(NOW)
    schedule.put_back(item(1), ready_at=NOW + 60)

    schedule.remove(number_id(1), A)

    assert schedule.take(NOW) == item(2)


def test_removing_what_is_urgent_takes_its_urgency_away() -> None:
    schedule = schedule_of(item(1, A), item(2, B), item(3, B, priority=10))

    schedule.remove(number_id(3), B)

    assert drained(schedule) == [1, 2]


def test_an_urgency_that_is_used_up_never_counts_again() -> None:
    # The lane of B is offered twice, as an urgent intent joins; the first offer must not outlive
    # what it was made for.
    schedule = schedule_of(item(1, B, age=10), item(2, B, priority=10))
    for _ in range(2):
        schedule.take(NOW)
        schedule.finish(B)

    schedule.add(item(3, A, age=5))
    schedule.add(item(4, B))

    assert drained(schedule) == [3, 4]


# Pausing.


def test_a_paused_target_waits_and_keeps_its_order() -> None:
    schedule = schedule_of(item(1, A), item(2, B))
    schedule.pause(A)
    schedule.add(item(3, A))

    assert drained(schedule) == [2]
    schedule.resume(A)
    assert drained(schedule) == [1, 3]


def test_a_backoff_that_ends_during_a_pause_is_over_when_it_is_lifted() -> None:
    schedule = schedule_of(item(1))
    schedule.take(NOW)
    schedule.pause(A)
    schedule.put_back(item(1), ready_at=NOW + 5)

    assert schedule.take(NOW + 6) is None
    schedule.resume(A)
    assert schedule.take(NOW + 6) == item(1)


def test_lifting_a_pause_that_is_not_there_changes_nothing() -> None:
    schedule = schedule_of(item(1))

    schedule.resume(A)
    schedule.resume(B)

    assert drained(schedule) == [1]


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(0, 10)), max_size=30))
def test_nothing_is_lost_and_no_target_is_reordered(arrivals: list[tuple[Target, int]]) -> None:
    items = [item(n, target, priority) for n, (target, priority) in enumerate(arrivals, 1)]
    order = drained(schedule_of(*items))

    assert sorted(order) == [i.seq for i in items]
    for target in (A, B, C):
        of_target = [i.seq for i in items if i.target == target]
        assert [seq for seq in order if seq in of_target] == of_target


# Any mix of calls, against a model that sorts everything anew at each question.


class AnyMixOfCalls(RuleBasedStateMachine):
    """The model keeps plain lists; the schedule must choose exactly as it does."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule()
        self.now = NOW
        self.added = 0
        self.waiting: dict[Target, list[Unfinished]] = {A: [], B: [], C: []}
        self.ready_at = dict.fromkeys(self.waiting, 0.0)
        self.running: dict[Target, Unfinished] = {}
        self.paused: set[Target] = set()

    def ready(self) -> list[Target]:
        return [
            target
            for target, items in self.waiting.items()
            if items and target not in self.running and target not in self.paused
            if self.ready_at[target] <= self.now
        ]

    def urgency(self, target: Target) -> tuple[float, int]:
        ranks = [i.received_at.timestamp() - 60 * i.priority for i in self.waiting[target]]
        return min(ranks), self.waiting[target][0].seq

    @rule(lane=st.sampled_from([A, B, C]), priority=st.integers(0, 10), age=st.integers(0, 900))
    def add(self, lane: Target, priority: int, age: int) -> None:
        self.added += 1
        new = item(self.added, lane, priority, age)
        if not self.waiting[lane] and lane not in self.running:
            self.ready_at[lane] = 0.0
        self.waiting[lane].append(new)
        self.schedule.add(new)

    @rule(avoid=st.sampled_from([None, A, B, C]))
    def take(self, avoid: Target | None) -> None:
        ready = sorted(self.ready(), key=lambda t: (t == avoid, self.urgency(t)))
        expected = self.waiting[ready[0]][0] if ready else None

        assert self.schedule.take(self.now, avoid={avoid} if avoid else set()) == expected

        if expected is not None:
            self.running[expected.target] = self.waiting[expected.target].pop(0)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), wait=st.sampled_from([None, 0.0, 1.0, 7.0]))
    def end(self, data: st.DataObject, wait: float | None) -> None:
        target = data.draw(st.sampled_from(sorted(self.running)))
        ended = self.running.pop(target)
        if wait is None:
            self.ready_at[target] = 0.0
            self.schedule.finish(target)
        else:
            self.ready_at[target] = self.now + wait if wait else 0.0
            self.waiting[target].insert(0, ended)
            self.schedule.put_back(ended, ready_at=self.ready_at[target])

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        everything = [i for items in self.waiting.values() for i in items]
        out = data.draw(st.sampled_from(everything))
        items = self.waiting[out.target]
        if items[0] is out:
            self.ready_at[out.target] = 0.0
        items.remove(out)

        assert self.schedule.remove(out.intent_id, out.target)
        assert not self.schedule.remove(out.intent_id, out.target)

    @rule(lane=st.sampled_from([A, B, C]))
    def pause(self, lane: Target) -> None:
        self.paused.add(lane)
        self.schedule.pause(lane)

    @rule(lane=st.sampled_from([A, B, C]))
    def resume(self, lane: Target) -> None:
        self.paused.discard(lane)
        self.schedule.resume(lane)

    @rule(seconds=st.sampled_from([0.5, 1.0, 6.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def holds_exactly_what_waits(self) -> None:
        for target, items in self.waiting.items():
            assert list(self.schedule.waiting(target)) == items
        assert len(self.schedule) == sum(map(len, self.waiting.values()))

    @invariant()
    def wakes_no_later_than_the_first_backoff_ends(self) -> None:
        ends = [
            self.ready_at[target]
            for target, items in self.waiting.items()
            if items and target not in self.running and target not in self.paused
            if self.ready_at[target] > self.now
        ]
        if ends:
            wake = self.schedule.next_wake()
            assert wake is not None
            assert wake <= min(ends)


TestAnyMixOfCalls = AnyMixOfCalls.TestCase
TestAnyMixOfCalls.settings = settings(max_examples=60, stateful_step_count=40)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 10))),
    st.integers(1, 3),
)
def test_under_a_rate_all_go_in_order_and_no_namespace_exceeds_it(
    asked: list[tuple[str, str, int]], burst: int
) -> None:
    items = [item(n, Target(ns, name), p) for n, (ns, name, p) in enumerate(asked, 1)]
    schedule, now = limited(*items, burst=burst), NOW
    begun: list[Unfinished] = []
    seconds = 0
    while len(schedule):
        while (chosen := schedule.take(now)) is not None:
            begun.append(chosen)
            schedule.finish(chosen.target)
        for namespace in "ab":
            of_it = sum(one.target.namespace == namespace for one in begun)
            assert of_it <= burst + seconds
        wake = schedule.next_wake()
        assert (wake is None) == (len(schedule) == 0)
        if wake is not None:
            assert now < wake <= now + 1
            now, seconds = now + 1, seconds + 1
    for target in {one.target for one in items}:
        of_target = [one.seq for one in begun if one.target == target]
        assert of_target == sorted(of_target)
    assert len(begun) == len(items)
