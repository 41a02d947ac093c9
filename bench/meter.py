"""CPU seconds inside chosen functions, counted while a program runs as it always does."""

from __future__ import annotations

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")


class Meter:
    """Puts clocks around functions; of calls inside each other only the outermost counts.

    With `time.thread_time_ns` for a clock, waiting costs nothing. A generator is counted while it
    runs, not while it is suspended.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock` tells nanoseconds."""
        self._clock = clock
        self.nanoseconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._inside: threading.local = threading.local()

    def clock(self, owner: object, name: str, label: str) -> None:
        """Count a function of a module or class under a label. Raises AttributeError."""
        function: Callable[..., object] = getattr(owner, name)
        if inspect.isgeneratorfunction(function):
            setattr(owner, name, self._stepping(function, label))
            return

        @functools.wraps(function)
        def counted(*given: object, **named: object) -> object:
            return self._timed(label, lambda: function(*given, **named))

        setattr(owner, name, counted)

    def _stepping(self, function: Callable[..., object], label: str) -> Callable[..., object]:
        @functools.wraps(function)
        def counted(*given: object, **named: object) -> Generator[object, object, object]:
            steps = function(*given, **named)
            assert isinstance(steps, Generator)
            try:
                while True:
                    try:
                        step = self._timed(label, lambda: next(steps))
                    except StopIteration as end:
                        return end.value
                    yield step
            finally:
                steps.close()

        return counted

    def _timed(self, label: str, call: Callable[[], T]) -> T:
        if getattr(self._inside, label, False):
            return call()
        setattr(self._inside, label, True)
        began = self._clock()
        try:
            return call()
        finally:
            self.nanoseconds[label] += self._clock() - began
            self.calls[label] += 1
            setattr(self._inside, label, False)
