"""How a run went so far: what was taken in, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from conductor_loop.core.events import Admitted
from conductor_loop.core.records import Entry
from conductor_loop.core.states import ENDINGS, UNSUCCESSFUL, State


class Tally:
    """`ports.Listener`: counts what this process relayed."""

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        self.ended: Counter[State] = Counter()
        self.admitted = 0
        self._on_change = on_change

    def hear(self, entry: Entry) -> None:
        """See `ports.Listener`."""
        self.admitted += isinstance(entry.event, Admitted)
        state = ENDINGS.get(type(entry.event))
        if state is None:
            return
        self.ended[state] += 1
        if self._on_change is not None:
            self._on_change()

    @property
    def final(self) -> int:
        """How many ended."""
        return self.ended.total()

    @property
    def has_unsuccessful(self) -> bool:
        """Whether an intent failed, timed out or was rejected."""
        return any(self.ended[state] for state in UNSUCCESSFUL)

    def describe(self, kept: int = 0, set_aside: int = 0) -> str:
        """`12 published, 1 rejected, 3 kept, 1 set aside`, in the order of the state table."""
        parts = [f"{self.ended[state]} {state.value}" for state in State if self.ended[state]]
        parts += [f"{kept} kept"] if kept else []
        parts += [f"{set_aside} set aside"] if set_aside else []
        return ", ".join(parts) or "nothing to do"
