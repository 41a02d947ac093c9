"""The order in which waiting names get their turn, and what they cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.owners import OwnerQueues
from conductor_loop.core.rates import Buckets
from conductor_loop.core.waiting import (
    MOST_HEARD,
    MOST_UNSETTLED,
    Candidate,
    Waiting,
    ctime_of,
    name_of,
    sort_key,
)


def drained(waiting: Waiting, now: float = 0.0) -> list[bytes]:
    names = []
    while (candidate := waiting.next(now)) is not None:
        names.append(candidate.name)
    return names


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=255))))
def test_keys_sort_as_ctime_and_name(files: list[tuple[int, bytes]]) -> None:
    keys = sorted(sort_key(ctime, name) for ctime, name in files)
    assert [(ctime_of(key), name_of(key)) for key in keys] == sorted(files)


def test_a_ctime_before_1970_counts_as_1970() -> None:
    assert ctime_of(sort_key(-5, b"a")) == 0


def test_a_listing_comes_out_oldest_first_and_by_name_within_one_moment() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    waiting.relist([sort_key(2, b"a"), sort_key(1, b"c"), sort_key(1, b"b")])
    assert drained(waiting) == [b"b", b"c", b"a"]


def test_what_events_name_comes_after_the_listing_in_the_order_of_events() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    waiting.relist([sort_key(9, b"listed")])
    waiting.hear([(b"z", True), (b"a", True)])
    waiting.hear([(b"z", True)])
    assert drained(waiting) == [b"listed", b"a", b"z"]


def test_an_event_tells_whether_the_file_was_moved_in() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    waiting.hear([(b"moved", True), (b"written", False)])
    moved, written = waiting.next(0), waiting.next(0)
    assert moved == Candidate(b"moved", arrived_by_rename=True)
    assert written == Candidate(b"written")


def test_what_is_set_aside_comes_back_first_and_not_before_its_time() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    waiting.set_aside(Candidate(b"late", first_seen=1.0, ctime_ns=7), due=5.0)
    waiting.relist([sort_key(1, b"listed")])
    assert waiting.next_due() == 0.0
    assert drained(waiting, now=4.9) == [b"listed"]
    assert waiting.next_due() == 5.0
    assert waiting.next(5.0) == Candidate(b"late", first_seen=1.0, ctime_ns=7)
    assert waiting.next_due() is None


def test_a_name_that_waits_for_its_time_is_skipped_in_a_new_listing() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    waiting.set_aside(Candidate(b"a"), due=5.0)
    waiting.relist([sort_key(1, b"a")])
    waiting.hear([(b"a", False)])
    assert drained(waiting, now=1.0) == []
    assert len(waiting) == 1


def test_a_move_onto_a_name_that_waits_ends_its_wait() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    waiting.set_aside(Candidate(b"a"), due=5.0)
    waiting.hear([(b"a", True)])
    assert waiting.next(1.0) == Candidate(b"a", arrived_by_rename=True)
    assert drained(waiting, now=9.0) == []


def test_more_unsettled_names_than_are_kept_wait_in_compact_form() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    names = [b"%06d" % number for number in range(MOST_UNSETTLED + 10)]
    for name in names:
        waiting.set_aside(Candidate(name, first_seen=0.0, ctime_ns=3), due=5.0)
    assert len(waiting) == len(names)
    assert drained(waiting, now=4.0) == []
    assert drained(waiting, now=5.0) == names


def test_what_is_roused_comes_at_once_in_the_order_in_which_it_would_have_come() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    late, soon = Candidate(b"a", first_seen=1.0), Candidate(b"b", first_seen=0.5)
    waiting.set_aside(late, due=9.0)
    waiting.set_aside(soon, due=8.0)
    waiting.rouse()
    due = waiting.next_due()
    assert due is not None
    assert due <= 1.0
    assert [waiting.next(1.0), waiting.next(1.0), waiting.next(1.0)] == [soon, late, None]


def test_names_in_compact_form_are_roused_too() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    names = [b"%06d" % number for number in range(MOST_UNSETTLED + 10)]
    for name in names:
        waiting.set_aside(Candidate(name, first_seen=0.0, ctime_ns=3), due=5.0)
    waiting.rouse()
    assert drained(waiting, now=1.0) == names


def test_too_many_events_are_dropped_and_that_is_said() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    assert waiting.hear((b"%d" % number, False) for number in range(MOST_HEARD))
    assert waiting.hear([(b"0", True)])
    assert not waiting.hear([(b"one more", False)])
    assert len(waiting) == MOST_HEARD


def test_the_oldest_ctime_is_known_wherever_its_name_waits() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    assert waiting.oldest_ctime_ns() is None
    waiting.relist([sort_key(30, b"a"), sort_key(20, b"b")])
    assert waiting.oldest_ctime_ns() == 20
    waiting.set_aside(Candidate(b"c", ctime_ns=10), due=1.0)
    assert waiting.oldest_ctime_ns() == 10


def test_a_name_that_was_listed_and_heard_of_counts_once() -> None:
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    waiting.relist([sort_key(1, b"a"), sort_key(2, b"b")])
    waiting.hear([(b"b", True), (b"c", False)])
    waiting.set_aside(Candidate(b"c", ctime_ns=3), due=9.0)
    assert (waiting.distinct(), len(waiting)) == (3, 5)
