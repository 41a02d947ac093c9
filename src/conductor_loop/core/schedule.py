"""Which intent next: one at a time per target, head first; between targets priority and age."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from heapq import heappop, heappush

from conductor_loop.core.intent import Target
from conductor_loop.core.rates import Buckets, Rate
from conductor_loop.core.records import Unfinished

_SECONDS_PER_PRIORITY = 60.0
"""Waiting a minute counts as much as one step of priority, so nothing starves."""

_Ticket = tuple[float, int, Target]


@dataclass(slots=True)
class _Lane:
    """What waits for one target, in journal order."""

    waiting: deque[Unfinished] = field(default_factory=deque)
    urgencies: deque[float] = field(default_factory=deque)
    """Ranks that are the smallest of everything behind them: the first is the lane's own."""
    ready_at: float = 0.0
    """When its head may run, on the steady clock: its backoff blocks the whole lane."""
    running: str | None = None
    ticket: _Ticket | None = None
    """Its place among the targets that may run now; any other one of it in there is void."""

    def insert(self, item: Unfinished) -> bool:
        """Add in journal order, nearly always at the end; tell whether it became more urgent."""
        if not self.waiting or self.waiting[-1].seq < item.seq:
            return self._append(item)
        self.refill(sorted([*self.waiting, item], key=lambda one: one.seq))
        return True

    def refill(self, items: Iterable[Unfinished]) -> None:
        """Let these wait and nothing else."""
        self.waiting.clear()
        self.urgencies.clear()
        for item in items:
            self._append(item)

    def _append(self, item: Unfinished) -> bool:
        rank = _rank(item)
        while self.urgencies and self.urgencies[-1] > rank:
            self.urgencies.pop()
        self.waiting.append(item)
        self.urgencies.append(rank)
        return len(self.urgencies) == 1

    def prepend(self, item: Unfinished) -> None:
        self.waiting.appendleft(item)
        if not self.urgencies or _rank(item) <= self.urgencies[0]:
            self.urgencies.appendleft(_rank(item))

    def pop(self) -> Unfinished:
        item = self.waiting.popleft()
        if self.urgencies[0] == _rank(item):
            self.urgencies.popleft()
        return item


class Schedule:
    """Everything admitted and unfinished; holds no clock: `now` is steady seconds."""

    def __init__(self, namespaces: Buckets[str] | None = None) -> None:
        self._rates = Buckets[str](None, 1) if namespaces is None else namespaces
        self._over: dict[str, list[_Ticket]] = {}
        """Per namespace over its rate: the targets that could run, were it not for that."""
        self._over_until: list[tuple[float, str]] = []
        self._sizes: Counter[str] = Counter()
        """How many wait, by namespace."""
        self._newly_over: list[str] = []
        self._lanes: dict[Target, _Lane] = {}
        self._tickets: list[_Ticket] = []
        self._sleeping: list[tuple[float, Target]] = []
        self._paused: set[Target] = set()
        self._size = 0

    def __len__(self) -> int:
        """How many wait, those in backoff included; not those running."""
        return self._size

    def add(self, item: Unfinished, *, ready_at: float = 0.0) -> None:
        """Put behind everything of its target that is older in the journal."""
        lane = self._lanes.setdefault(item.target, _Lane())
        if not lane.waiting:
            lane.ready_at = ready_at
        more_urgent = lane.insert(item)
        self._count(item.target, 1)
        if more_urgent:
            lane.ticket = None
        self._offer(item.target, lane)

    def take(self, now: float, *, avoid: AbstractSet[Target] = frozenset()) -> Unfinished | None:
        """Give the next intent that may run and mark its target busy.

        One of a target that is not in `avoid`, if there is one.
        """
        self._wake(now)
        shunned: list[_Ticket] = []
        chosen: Unfinished | None = None
        while self._tickets and chosen is None:
            ticket = heappop(self._tickets)
            lane = self._lanes.get(ticket[2])
            if lane is None or lane.ticket != ticket:
                continue
            if ticket[2] in avoid:
                shunned.append(ticket)
            elif not self._may_start(lane.waiting[0], now):
                self._hold(ticket)
            else:
                chosen = self._start(lane)
        for ticket in shunned:
            heappush(self._tickets, ticket)
        if chosen is None and shunned:
            return self.take(now)
        return chosen

    def put_back(self, item: Unfinished, *, ready_at: float = 0.0) -> None:
        """The running intent of a target goes back to its head."""
        lane = self._lanes[item.target]
        lane.running = None
        lane.ready_at = ready_at
        lane.prepend(item)
        self._count(item.target, 1)
        self._offer(item.target, lane)

    def finish(self, target: Target) -> None:
        """The running intent of a target is final; the next one may run."""
        lane = self._lanes[target]
        lane.running = None
        lane.ready_at = 0.0
        self._offer(target, lane)

    def remove(self, intent_id: str, target: Target) -> bool:
        """Take a waiting intent out; False when it does not wait."""
        lane = self._lanes.get(target)
        if lane is None:
            return False
        kept = [item for item in lane.waiting if item.intent_id != intent_id]
        if len(kept) == len(lane.waiting):
            return False
        if lane.waiting[0].intent_id == intent_id:
            lane.ready_at = 0.0
        lane.refill(kept)
        lane.ticket = None
        self._count(target, -1)
        self._offer(target, lane)
        return True

    def pause(self, target: Target) -> None:
        """Start nothing of this target until resumed."""
        self._paused.add(target)
        lane = self._lanes.get(target)
        if lane is not None:
            lane.ticket = None

    def resume(self, target: Target) -> None:
        """Let a target run again."""
        self._paused.discard(target)
        lane = self._lanes.get(target)
        if lane is not None:
            self._offer(target, lane)

    def is_paused(self, target: Target) -> bool:
        """Whether nothing of this target is to start."""
        return target in self._paused

    def change_rate(self, rate: Rate | None, burst: int) -> None:
        """Go by another rate of a namespace from now on, also for those that wait for it."""
        self._rates.change(rate, burst)
        self._over_until = sorted((0.0, namespace) for _, namespace in self._over_until)

    def held_back(self) -> int:
        """How many wait for targets that are paused, or in namespaces over their rate."""
        paused = [target for target in self._paused if target.namespace not in self._over]
        lanes = (self._lanes.get(target) for target in paused)
        held = sum(len(lane.waiting) for lane in lanes if lane is not None)
        return held + sum(self.over_rate().values())

    def over_rate(self) -> Mapping[str, int]:
        """How many wait in each namespace that is over its rate."""
        return {namespace: self._sizes[namespace] for namespace in self._over}

    def newly_over(self) -> list[str]:
        """Namespaces that were held since this was asked last."""
        newly, self._newly_over = self._newly_over, []
        return newly

    def is_held(self) -> bool:
        """Whether something waits, and all of it for a target that is paused."""
        waiting = [target for target, lane in self._lanes.items() if lane.waiting]
        return bool(waiting) and all(target in self._paused for target in waiting)

    def has_ready(self) -> bool:
        """Whether a target seems to be ready to run; the next `take` clears up what only seems."""
        return bool(self._tickets)

    def waiting(self, target: Target | None = None) -> Iterator[Unfinished]:
        """Everything that waits, in order within each target."""
        lanes: Iterable[_Lane] = self._lanes.values()
        if target is not None:
            lanes = [self._lanes[target]] if target in self._lanes else []
        for lane in lanes:
            yield from lane.waiting

    def next_wake(self) -> float | None:
        """When the next backoff ends, or a namespace may go on, if any does."""
        moments = [queue[0][0] for queue in (self._sleeping, self._over_until) if queue]
        return min(moments, default=None)

    def _start(self, lane: _Lane) -> Unfinished:
        item = lane.pop()
        lane.running = item.intent_id
        lane.ticket = None
        self._count(item.target, -1)
        return item

    def _count(self, target: Target, change: int) -> None:
        self._size += change
        self._sizes[target.namespace] += change
        if not self._sizes[target.namespace]:
            del self._sizes[target.namespace]

    def _may_start(self, item: Unfinished, now: float) -> bool:
        # An intent counts once, with its first attempt: what is tried again came in long ago.
        return item.runs > 0 or self._rates.take(item.target.namespace, now)

    def _hold(self, ticket: _Ticket) -> None:
        namespace = ticket[2].namespace
        if namespace not in self._over:
            self._over[namespace] = []
            self._newly_over.append(namespace)
            heappush(self._over_until, (self._rates.ready_at(namespace), namespace))
        heappush(self._over[namespace], ticket)

    def _offer(self, target: Target, lane: _Lane) -> None:
        if lane.running is not None or lane.ticket is not None:
            return
        if not lane.waiting:
            del self._lanes[target]
            return
        if self.is_paused(target):
            return
        if lane.ready_at > 0.0:
            heappush(self._sleeping, (lane.ready_at, target))
            return
        # The lane counts as much as its most urgent intent: a critical one waiting behind an
        # ordinary head pulls that head forward.
        lane.ticket = (lane.urgencies[0], lane.waiting[0].seq, target)
        heappush(self._tickets, lane.ticket)

    def _wake(self, now: float) -> None:
        while self._sleeping and self._sleeping[0][0] <= now:
            ready_at, target = heappop(self._sleeping)
            lane = self._lanes.get(target)
            if lane is not None and lane.ready_at == ready_at:
                lane.ready_at = 0.0
                self._offer(target, lane)
        while self._over_until and self._over_until[0][0] <= now:
            self._release(heappop(self._over_until)[1], now)

    def _release(self, namespace: str, now: float) -> None:
        """Offer again as many targets of a namespace as it has tokens, the most urgent first."""
        tokens, next_at = self._rates.next_after(namespace, now)
        held = self._over[namespace]
        while held and tokens:
            ticket = heappop(held)
            lane = self._lanes.get(ticket[2])
            if lane is not None and lane.ticket == ticket:
                heappush(self._tickets, ticket)
                tokens -= 1
        if held:
            heappush(self._over_until, (next_at, namespace))
        else:
            del self._over[namespace]


def _rank(item: Unfinished) -> float:
    return item.received_at.timestamp() - item.priority * _SECONDS_PER_PRIORITY
