"""The order in which waiting names get their turn, and what they cost."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from random import sample

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

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


def scanned(*keys: bytes) -> Waiting:
    """Names as they wait after a scan that listed these."""
    waiting = Waiting(OwnerQueues(Buckets(None, 1)))
    waiting.relist(list(keys), now=0.0)
    return waiting


def drained(waiting: Waiting, now: float = 0.0) -> list[bytes]:
    names = []
    while (candidate := waiting.next(now)) is not None:
        names.append(candidate.name)
    return names


def drained_candidates(waiting: Waiting, now: float) -> list[Candidate]:
    candidates = []
    while (candidate := waiting.next(now)) is not None:
        candidates.append(candidate)
    return candidates


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=255))))
def test_keys_sort_as_ctime_and_name(files: list[tuple[int, bytes]]) -> None:
    keys = sorted(sort_key(ctime, name) for ctime, name in files)
    assert [(ctime_of(key), name_of(key)) for key in keys] == sorted(files)


def test_a_ctime_before_1970_counts_as_1970() -> None:
    assert ctime_of(sort_key(-5, b"a")) == 0


def test_a_listing_comes_out_oldest_first_and_by_name_within_one_moment() -> None:
    waiting = scanned(sort_key(2, b"a"), sort_key(1, b"c"), sort_key(1, b"b"))
    assert drained(waiting) == [b"b", b"c", b"a"]


def test_what_events_name_comes_after_the_listing_in_the_order_of_events() -> None:
    waiting = scanned(sort_key(9, b"listed"))
    waiting.hear([(b"z", True), (b"a", True)])
    waiting.hear([(b"z", True)])
    assert drained(waiting) == [b"listed", b"a", b"z"]


def test_an_event_tells_whether_the_file_was_moved_in() -> None:
    waiting = scanned()
    waiting.hear([(b"moved", True), (b"written", False)])
    moved, written = waiting.next(0), waiting.next(0)
    assert moved == Candidate(b"moved", arrived_by_rename=True)
    assert written == Candidate(b"written")


def test_what_is_set_aside_comes_back_first_and_not_before_its_time() -> None:
    waiting = scanned()
    waiting.set_aside(Candidate(b"late", first_seen=1.0, ctime_ns=7), due=5.0)
    waiting.relist([sort_key(1, b"listed")], now=0.0)
    assert waiting.next_due() == 0.0
    assert drained(waiting, now=4.9) == [b"listed"]
    assert waiting.next_due() == 5.0
    assert waiting.next(5.0) == Candidate(b"late", first_seen=1.0, ctime_ns=7)
    assert waiting.next_due() is None


def test_a_name_that_waits_for_its_time_is_skipped_in_a_new_listing() -> None:
    waiting = scanned()
    waiting.set_aside(Candidate(b"a"), due=5.0)
    waiting.relist([sort_key(1, b"a")], now=0.0)
    waiting.hear([(b"a", False)])
    assert drained(waiting, now=1.0) == []
    assert len(waiting) == 1


def test_a_move_onto_a_name_that_waits_ends_its_wait() -> None:
    waiting = scanned()
    waiting.set_aside(Candidate(b"a"), due=5.0)
    waiting.hear([(b"a", True)])
    assert waiting.next(1.0) == Candidate(b"a", arrived_by_rename=True)
    assert drained(waiting, now=9.0) == []


def next_of(waiting: Waiting, now: float) -> Candidate:
    candidate = waiting.next(now)
    assert candidate is not None
    return candidate


def test_a_listed_name_comes_with_what_the_scan_saw_and_events_had_told() -> None:
    waiting = scanned()
    waiting.hear([(b"moved", True), (b"written", False)])
    keys = [sort_key(1, b"unannounced"), sort_key(2, b"moved"), sort_key(3, b"written")]
    waiting.relist(keys, now=4.0)
    assert [next_of(waiting, 4.0) for _ in range(3)] == [
        Candidate(b"unannounced", first_seen=4.0, ctime_ns=1, is_unannounced=True),
        Candidate(b"moved", arrived_by_rename=True, first_seen=4.0, ctime_ns=2),
        Candidate(b"written", first_seen=4.0, ctime_ns=3),
    ]
    assert waiting.next(4.0) is None


def test_what_was_heard_of_since_the_scan_keeps_the_order_of_events() -> None:
    waiting = scanned(sort_key(1, b"b"), sort_key(2, b"unannounced"))
    waiting.hear([(b"a", True), (b"b", True)])
    assert drained(waiting) == [b"unannounced", b"a", b"b"]


def test_listed_files_of_one_ctime_keep_the_order_in_which_events_told_of_them() -> None:
    waiting = scanned()
    waiting.hear([(b"c", True), (b"a", True), (b"b", True), (b"gone", True)])
    waiting.relist([sort_key(7, name) for name in (b"a", b"b", b"c")], now=0.0)
    assert drained(waiting) == [b"c", b"a", b"b"]


def test_a_name_that_a_walk_returned_twice_comes_in_its_place() -> None:
    waiting = scanned()
    waiting.hear([(b"b", True), (b"a", True)])
    waiting.relist([sort_key(1, b"a"), sort_key(2, b"b"), sort_key(3, b"a")], now=0.0)
    assert drained(waiting)[:2] == [b"b", b"a"]


def test_a_file_that_is_written_anew_after_its_move_is_not_taken_for_the_moved_one() -> None:
    waiting = scanned()
    waiting.set_aside(Candidate(b"a"), due=5.0)
    waiting.hear([(b"a", True)])
    waiting.hear([(b"a", False)])
    assert drained_candidates(waiting, now=1.0) == [Candidate(b"a")]


def test_files_that_are_set_aside_until_one_moment_come_by_ctime_and_name() -> None:
    waiting = scanned()
    for ctime, name in ((2, b"a"), (1, b"c"), (1, b"b")):
        waiting.set_aside(Candidate(name, ctime_ns=ctime), due=5.0)
    assert drained(waiting, now=5.0) == [b"b", b"c", b"a"]


def test_nothing_overtakes_a_file_that_only_a_scan_told_of_while_it_settles() -> None:
    waiting = scanned(sort_key(1, b"before"), sort_key(2, b"next"))
    waiting.let_settle(next_of(waiting, 0.0), due=5.0)
    waiting.hear([(b"after", True)])
    assert (waiting.next(4.9), waiting.next_due()) == (None, 5.0)
    assert drained(waiting, now=5.0) == [b"before", b"next", b"after"]


def test_an_event_of_a_file_that_settles_puts_it_in_its_place() -> None:
    waiting = scanned(sort_key(1, b"listed"))
    waiting.let_settle(next_of(waiting, 0.0), due=5.0)
    waiting.hear([(b"first", True), (b"listed", True)])
    assert waiting.next_due() == 0.0
    assert drained(waiting, now=1.0) == [b"first", b"listed"]


def test_when_an_event_takes_the_first_out_of_the_listing_the_next_may_come_at_once() -> None:
    waiting = scanned()
    waiting.hear([(b"moved", True)])
    waiting.relist([sort_key(1, b"first"), sort_key(2, b"moved")], now=0.0)
    waiting.let_settle(next_of(waiting, 0.0), due=5.0)
    assert (waiting.next(1.0), waiting.next_due()) == (None, 5.0)
    waiting.hear([(b"first", False)])
    assert waiting.next_due() == 0.0
    assert drained(waiting, now=1.0) == [b"moved", b"first"]


def test_a_file_that_is_being_written_holds_up_nobody() -> None:
    waiting = scanned()
    waiting.let_settle(Candidate(b"written", first_seen=1.0, ctime_ns=1), due=5.0)
    waiting.hear([(b"moved", True)])
    assert drained(waiting, now=1.0) == [b"moved"]


def test_a_file_that_only_a_scan_told_of_and_that_is_set_aside_holds_up_nobody() -> None:
    waiting = scanned(sort_key(1, b"open"))
    waiting.set_aside(next_of(waiting, 0.0), due=5.0)
    waiting.hear([(b"moved", True)])
    assert drained(waiting, now=1.0) == [b"moved"]
    assert not next_of(waiting, 5.0).is_unannounced


def test_files_that_settle_come_by_ctime_and_name_whatever_the_clocks_said_of_them() -> None:
    waiting = scanned()
    for ctime, name, due in ((2, b"c", 5.0), (2, b"b", 5.0), (1, b"a", 5.01)):
        waiting.let_settle(Candidate(name, ctime_ns=ctime), due)
    assert drained(waiting, now=5.005) == []
    assert waiting.next_due() == 5.01
    assert drained(waiting, now=5.01) == [b"a", b"b", b"c"]


def test_of_a_listing_and_of_files_that_settle_the_oldest_comes_first() -> None:
    waiting = scanned()
    for ctime, name in ((1, b"a"), (3, b"c")):
        waiting.let_settle(Candidate(name, ctime_ns=ctime), due=5.0)
    waiting.relist([sort_key(2, b"b"), sort_key(4, b"d")], now=5.0)
    assert drained(waiting, now=5.0) == [b"a", b"b", b"c", b"d"]


def test_until_a_scan_has_closed_a_gap_what_events_name_waits() -> None:
    waiting = scanned()
    waiting.has_gap = True
    waiting.hear([(b"b", True)])
    assert (waiting.next(0.0), waiting.next_due()) == (None, None)
    waiting.relist([sort_key(1, b"a"), sort_key(2, b"b")], now=0.0)
    waiting.hear([(b"c", True)])
    assert [next_of(waiting, 0.0).arrived_by_rename for _ in range(3)] == [False, False, True]


def test_after_a_gap_what_events_had_told_of_a_listed_name_may_be_about_another_file() -> None:
    for moved_in in (True, False):
        waiting = scanned()
        waiting.hear([(b"a", moved_in)])
        waiting.has_gap = True
        waiting.relist([sort_key(1, b"a")], now=0.0)
        a = next_of(waiting, 0.0)
        assert (a.arrived_by_rename, a.is_unannounced) == (False, True)


def test_what_a_listing_cannot_order_is_left_to_the_next_scan() -> None:
    waiting = scanned(*(sort_key(ctime, b"%d" % ctime) for ctime in (1, 2, 3)))
    waiting.leave_to_next_scan(2, 3)
    assert drained(waiting) == [b"1", b"3"]


def test_a_ctime_that_no_key_can_hold_loses_no_name() -> None:
    for ctime in (-1, 1 << 64):
        waiting = scanned(sort_key(ctime, b"listed"))
        waiting.let_settle(next_of(waiting, 0.0), due=2.0)
        waiting.let_settle(Candidate(b"written", ctime_ns=ctime), due=2.0)
        assert drained(waiting, now=1.0) == []
        assert sorted(drained(waiting, now=2.0)) == [b"listed", b"written"]


class AnyOrder(RuleBasedStateMachine):
    """Whatever is told, heard, listed and put off: no name is lost, and nobody waits in vain."""

    names = st.sampled_from([b"a", b"b", b"c", b"d"])

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting(OwnerQueues(Buckets(None, 1)))
        self.now, self.ctime = 0.0, 0
        self.there: dict[bytes, int] = {}

    @rule(name=names, moved_in=st.booleans(), is_told=st.booleans())
    def a_file_comes(self, name: bytes, moved_in: bool, is_told: bool) -> None:
        """By rename or not; its event may be lost."""
        self.ctime += 1
        self.there[name] = self.ctime
        if is_told:
            self.waiting.hear([(name, moved_in)])
        else:
            self.waiting.has_gap = True

    @precondition(lambda self: self.waiting.is_listing_done)
    @rule()
    def a_scan(self) -> None:
        """Of all that stands there."""
        self.waiting.relist([sort_key(at, name) for name, at in self.there.items()], self.now)

    @rule(verdict=st.sampled_from(["claim", "settle", "aside"]), wait=st.sampled_from([1, 3]))
    def a_look(self, verdict: str, wait: int) -> None:
        """At the next name, whatever comes of it."""
        candidate = self.waiting.next(self.now)
        if candidate is None or candidate.name not in self.there:
            return
        ctime = self.there[candidate.name]
        is_unannounced = candidate.is_unannounced and candidate.ctime_ns == ctime
        seen = replace(candidate, ctime_ns=ctime, is_unannounced=is_unannounced)
        if verdict == "claim":
            del self.there[candidate.name]
        elif verdict == "settle":
            self.waiting.let_settle(seen, self.now + wait)
        else:
            self.waiting.set_aside(seen, self.now + wait)

    @rule()
    def time_passes(self) -> None:
        """By one."""
        self.now += 1

    @rule()
    def another_debounce(self) -> None:
        """An operator sets it."""
        self.waiting.rouse()

    @invariant()
    def when_the_next_is_due_there_is_one(self) -> None:
        """Or a loop would turn without rest, or sleep too long."""
        due = self.waiting.next_due()
        probe = deepcopy(self.waiting)
        assert (probe.next(self.now) is not None) == (due is not None and due <= self.now)

    def teardown(self) -> None:
        """In the end, after one more scan, every file was looked at."""
        self.now += 10
        seen = set(drained(self.waiting, self.now))
        self.waiting.relist([sort_key(at, name) for name, at in self.there.items()], self.now)
        assert seen | set(drained(self.waiting, self.now)) >= self.there.keys()
        assert len(self.waiting) == 0


DEBOUNCE = 2
TICK = 1


class InOrder(RuleBasedStateMachine):
    """Files renamed into the folder are claimed in the order of their renames.

    Whether events told of them, were lost or come late; whether a walk saw them or missed them.
    As long as no event was lost, that holds also of files with one ctime.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting(OwnerQueues(Buckets(None, 1)))
        self.now = 0
        self.names = iter(sample(range(10_000), 10_000))
        self.there: dict[bytes, int] = {}  # in the order of their renames
        self.events: list[bytes] = []
        self.is_overflowed = self.are_ties_open = False

    @initialize(before=st.integers(0, 3))
    def the_daemon_starts(self, before: int) -> None:
        """Some files are there; their events went to nobody."""
        for _ in range(before):
            self.comes("lost")
            self.now += TICK
        self.is_overflowed = self.are_ties_open = False
        self.waiting.relist([sort_key(at, name) for name, at in self.there.items()], self.now)

    def comes(self, fate: str) -> bytes:
        """A file, whose event the kernel tells or loses."""
        name = b"%04d" % next(self.names)
        self.there[name] = self.now
        if fate == "lost":
            self.is_overflowed = self.are_ties_open = True
        else:
            self.events.append(name)
        return name

    def collect(self) -> None:
        """What the kernel tells by now."""
        self.waiting.hear((name, True) for name in self.events)
        self.waiting.has_gap |= self.is_overflowed
        self.events, self.is_overflowed = [], False

    def look(self, most: int) -> None:
        """Claim what is complete, up to so many."""
        for _ in range(most):
            candidate = self.waiting.next(self.now)
            if candidate is None:
                return
            if (ctime := self.there.get(candidate.name)) is None:
                continue
            if candidate.arrived_by_rename or self.now >= ctime + DEBOUNCE:
                assert ctime == min(self.there.values())
                assert self.are_ties_open or candidate.name == next(iter(self.there))
                del self.there[candidate.name]
            else:
                self.waiting.let_settle(replace(candidate, ctime_ns=ctime), ctime + DEBOUNCE)

    @rule(fate=st.sampled_from(["told", "told", "lost"]))
    def a_file_comes(self, fate: str) -> None:
        """While nobody looks."""
        self.comes(fate)

    @rule(most=st.integers(1, 3))
    def events_come_and_a_look(self, most: int) -> None:
        """What the source does when it is woken."""
        self.collect()
        self.look(most)

    @precondition(lambda self: self.waiting.is_listing_done)
    @rule(
        fates=st.lists(st.sampled_from(["told", "late", "lost"]), max_size=3),
        seen=st.lists(st.booleans(), min_size=3, max_size=3),
        most=st.integers(0, 3),
    )
    def a_scan_and_a_look(self, fates: list[str], seen: list[bool], most: int) -> None:
        """While the scan walks, files come that it sees or misses."""
        self.collect()
        listed, began = dict(self.there), self.now
        self.now += TICK
        late: list[bytes] = []
        for fate, is_seen in zip(fates, seen, strict=False):
            name = self.comes("late" if late else fate)  # events keep their order
            if fate == "late" or late:
                late.append(self.events.pop())
            if is_seen:
                listed[name] = self.now
        self.waiting.relist([sort_key(at, name) for name, at in listed.items()], self.now)
        self.collect()
        if self.waiting.has_gap:
            self.waiting.leave_to_next_scan(began + TICK, self.now + TICK)
        self.events = late
        self.look(most)

    @rule()
    def time_passes(self) -> None:
        """By less than a debounce; whatever was late has come by then."""
        self.collect()
        self.now += TICK

    def teardown(self) -> None:
        """In the end all are claimed."""
        self.collect()
        for _ in range(4):
            self.now += DEBOUNCE
            self.look(len(self.there) + 1)
            if self.waiting.is_listing_done:
                keys = [sort_key(at, name) for name, at in self.there.items()]
                self.waiting.relist(keys, self.now)
        assert not self.there


TestInOrder = InOrder.TestCase
TestInOrder.settings = settings(max_examples=300, deadline=None)
TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, deadline=None)


def test_more_unsettled_names_than_are_kept_wait_in_compact_form() -> None:
    waiting = scanned()
    names = [b"%06d" % number for number in range(MOST_UNSETTLED + 10)]
    for name in names:
        waiting.set_aside(Candidate(name, first_seen=0.0, ctime_ns=3), due=5.0)
    assert len(waiting) == len(names)
    assert drained(waiting, now=4.0) == []
    assert waiting.next_due() == 5.0
    assert drained(waiting, now=5.0) == names


def test_names_in_compact_form_wait_for_a_listing_that_waits() -> None:
    waiting = scanned(sort_key(9, b"listed"))
    for number in range(MOST_UNSETTLED + 1):
        waiting.set_aside(Candidate(b"%06d" % number, ctime_ns=3), due=8.0)
    waiting.let_settle(next_of(waiting, 0.0), due=9.0)
    for number in range(MOST_UNSETTLED):
        assert next_of(waiting, 8.0).name == b"%06d" % number
    assert (waiting.next(8.0), waiting.next_due()) == (None, 9.0)
    assert drained(waiting, now=9.0) == [b"listed", b"%06d" % MOST_UNSETTLED]


def test_a_name_in_compact_form_that_settles_again_holds_up_nobody() -> None:
    waiting = scanned()
    for number in range(MOST_UNSETTLED + 1):
        waiting.let_settle(Candidate(b"%06d" % number, ctime_ns=3), due=8.0)
    waiting.hear([(b"moved", True)])
    *_, last = (next_of(waiting, 8.0) for _ in range(MOST_UNSETTLED + 1))
    waiting.let_settle(last, due=9.0)
    assert drained(waiting, now=8.0) == [b"moved"]


def test_what_is_roused_comes_at_once_in_the_order_in_which_it_would_have_come() -> None:
    waiting = scanned()
    late, soon = Candidate(b"a", first_seen=1.0), Candidate(b"b", first_seen=0.5)
    waiting.set_aside(late, due=9.0)
    waiting.set_aside(soon, due=8.0)
    written = Candidate(b"c", ctime_ns=1)
    waiting.let_settle(written, due=9.0)
    waiting.rouse()
    due = waiting.next_due()
    assert due is not None
    assert due <= 1.0
    assert [waiting.next(1.0) for _ in range(4)] == [soon, late, written, None]


def test_names_in_compact_form_are_roused_too() -> None:
    waiting = scanned()
    names = [b"%06d" % number for number in range(MOST_UNSETTLED + 10)]
    for name in names:
        waiting.set_aside(Candidate(name, first_seen=0.0, ctime_ns=3), due=5.0)
    waiting.rouse()
    assert drained(waiting, now=1.0) == names


def test_too_many_events_are_dropped_and_that_is_said() -> None:
    waiting = scanned()
    waiting.hear((b"%d" % number, False) for number in range(MOST_HEARD))
    waiting.hear([(b"0", True)])
    had_gap = waiting.has_gap
    waiting.hear([(b"one more", False)])
    assert (had_gap, waiting.has_gap) == (False, True)
    assert len(waiting) == MOST_HEARD


def test_the_oldest_ctime_is_known_wherever_its_name_waits() -> None:
    waiting = scanned()
    assert waiting.oldest_ctime_ns() is None
    waiting.relist([sort_key(30, b"a"), sort_key(20, b"b")], now=0.0)
    assert waiting.oldest_ctime_ns() == 20
    waiting.set_aside(Candidate(b"c", ctime_ns=10), due=1.0)
    assert waiting.oldest_ctime_ns() == 10


def test_a_name_that_was_listed_and_heard_of_counts_once() -> None:
    waiting = scanned(sort_key(1, b"a"), sort_key(2, b"b"))
    waiting.hear([(b"b", True), (b"c", False)])
    waiting.set_aside(Candidate(b"c", ctime_ns=3), due=9.0)
    assert (waiting.distinct(), len(waiting)) == (3, 5)
