"""Who waits because its owner hands over too much, and whose turn it is."""

from __future__ import annotations

from conductor_loop.core.owners import OwnerQueues
from conductor_loop.core.rates import Buckets, Rate
from conductor_loop.core.waiting import Candidate, Waiting, sort_key

NOW = 1_000.0
ANN, BOB = 1, 2


def crowded() -> OwnerQueues:
    """Ann and Bob have used up their burst of one; a token comes each second."""
    queues = OwnerQueues(Buckets(Rate(1, 1), 1))
    for owner in (ANN, BOB):
        assert not queues.must_wait(owner, NOW)
        queues.count(owner, NOW)
    return queues


def test_nobody_queues_before_the_burst_is_used_up() -> None:
    queues = OwnerQueues(Buckets(Rate(1, 1), 2))
    queues.count(ANN, NOW)
    assert not queues.must_wait(ANN, NOW)
    queues.count(ANN, NOW)
    assert queues.must_wait(ANN, NOW)
    assert not queues.must_wait(BOB, NOW)


def test_each_owner_has_a_turn_a_second_in_the_order_of_joining() -> None:
    queues = crowded()
    for name in (b"1", b"2", b"3"):
        queues.join(ANN, name, ctime_ns=1, moved_in=False)
    queues.join(BOB, b"b", ctime_ns=1, moved_in=True)
    assert queues.next(NOW + 0.9) is None
    assert queues.next_turn() == NOW + 1
    first_two = [queues.next(NOW + 1), None]
    queues.count(ANN, NOW + 1)
    first_two[1] = queues.next(NOW + 1)
    assert first_two == [(b"1", 1, False, ANN), (b"b", 1, True, BOB)]
    assert queues.next(NOW + 1) is None
    assert queues.next(NOW + 2) == (b"2", 1, False, ANN)
    queues.join(ANN, b"3", ctime_ns=1, moved_in=True)
    assert dict(queues.sizes()) == {ANN: 1}
    assert len(queues) == 1


def test_a_turn_that_nothing_came_of_is_the_next_ones() -> None:
    queues = crowded()
    queues.join(ANN, b"gone", ctime_ns=1, moved_in=False)
    queues.join(ANN, b"there", ctime_ns=1, moved_in=False)
    assert queues.next(NOW + 1) == (b"gone", 1, False, ANN)
    assert queues.next(NOW + 1) == (b"there", 1, False, ANN)


def test_whoever_comes_while_others_of_the_owner_queue_goes_behind_them() -> None:
    queues = crowded()
    queues.join(ANN, b"first", ctime_ns=1, moved_in=False)
    assert queues.must_wait(ANN, NOW + 60)


def test_a_name_keeps_its_place_whatever_events_and_scans_tell_of_it() -> None:
    queues = crowded()
    waiting = Waiting(queues)
    queues.join(ANN, b"a", ctime_ns=1, moved_in=False)
    waiting.relist([sort_key(1, b"a"), sort_key(2, b"b")], now=0.0)
    listed = waiting.next(NOW)
    assert listed is not None
    assert listed.name == b"b"
    assert waiting.next(NOW) is None
    waiting.hear([(b"a", True)])
    assert waiting.next(NOW) == Candidate(b"a", arrived_by_rename=True)
    queues.join(ANN, b"a", ctime_ns=1, moved_in=True)
    assert waiting.next(NOW) is None
    assert len(waiting) == 1
    assert waiting.next_due() == NOW + 1
    assert waiting.next(NOW + 1) == Candidate(b"a", arrived_by_rename=True, ctime_ns=1, turn_of=ANN)
    assert waiting.next_due() is None


def test_a_file_that_took_a_queued_name_is_looked_at_and_not_held_for_its_predecessor() -> None:
    queues = crowded()
    waiting = Waiting(queues)
    for name in (b"a", b"b"):
        queues.join(ANN, name, ctime_ns=1, moved_in=False)
    waiting.relist([sort_key(9, b"a"), sort_key(1, b"b")], now=0.0)
    listed = waiting.next(NOW)
    assert listed is not None
    assert listed.name == b"a"
    queues.leave(b"a")
    assert queues.next(NOW + 1) == (b"b", 1, False, ANN)
    assert queues.next(NOW + 1) is None
    assert queues.next_turn() is None


def test_a_name_that_changes_its_owner_queues_once_and_behind_the_new_ones() -> None:
    queues = crowded()
    queues.join(BOB, b"b", ctime_ns=1, moved_in=False)
    queues.join(ANN, b"a", ctime_ns=1, moved_in=False)
    queues.join(BOB, b"a", ctime_ns=2, moved_in=True)
    assert len(queues) == 2
    assert queues.next(NOW + 1) == (b"b", 1, False, BOB)
    queues.count(BOB, NOW + 1)
    assert queues.next(NOW + 1) is None
    assert queues.next(NOW + 2) == (b"a", 2, True, BOB)
    assert len(queues) == 0
