"""The clock that the benchmark puts around functions counts each nanosecond once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

from bench.meter import Meter


@dataclass
class Clock:
    """Goes on when somebody works."""

    now: int = 0

    def work(self) -> None:
        self.now += 5


def test_calls_inside_each_other_count_once_and_return_what_they_did() -> None:
    clock = Clock()
    meter, made = Meter(lambda: clock.now), SimpleNamespace(inner=clock.work)

    def outer() -> str:
        made.inner()
        clock.work()
        return "done"

    made.outer = outer
    for name in ("inner", "outer"):
        meter.clock(made, name, "both")

    assert made.outer() == "done"
    assert (meter.calls["both"], meter.nanoseconds["both"]) == (1, 10)


def test_a_generator_counts_while_it_runs_and_not_while_it_is_suspended() -> None:
    clock = Clock()
    meter = Meter(lambda: clock.now)

    def steps() -> Iterator[int]:
        clock.work()
        yield 1
        yield 2

    made = SimpleNamespace(steps=steps)
    meter.clock(made, "steps", "steps")
    found = []
    for step in made.steps():
        clock.work()
        found.append(step)

    assert found == [1, 2]
    assert meter.nanoseconds["steps"] == 5


def test_two_labels_inside_each_other_both_count() -> None:
    clock = Clock()
    meter, made = Meter(lambda: clock.now), SimpleNamespace(inner=clock.work)

    def outer() -> None:
        made.inner()
        clock.work()

    made.outer = outer
    meter.clock(made, "inner", "signature")
    meter.clock(made, "outer", "audit")
    made.outer()
    assert (meter.nanoseconds["signature"], meter.nanoseconds["audit"]) == (5, 10)
