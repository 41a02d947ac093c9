"""Above a mark of memory the source holds, with hysteresis, and only when memory is really used."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from conductor_loop.conductor.restraint import Memory, Restraint
from conductor_loop.core.detection.pressure import is_over
from tests.fakes import FakeClock
from tests.fakes_notices import NoticesInMemory

_MIB = 1 << 20


@dataclass
class Held:
    """A source that remembers what it was told."""

    told: list[str] = field(default_factory=list)

    def hold(self, why: OSError | None) -> None:
        self.told.append("go on" if why is None else "hold")


@dataclass
class Scene:
    """A restraint at 100 MiB, and the memory that it sees."""

    used: int = 0
    free_inside: int = 0
    is_idle: bool = False
    source: Held = field(default_factory=Held)
    notices: NoticesInMemory = field(default_factory=NoticesInMemory)

    def __post_init__(self) -> None:
        memory = Memory(lambda: self.used * _MIB, self._give_back)
        self.restraint = Restraint(
            self.source, memory, lambda: self.is_idle, self.notices, FakeClock()
        )
        self.restraint.mark = 100 * _MIB

    def _give_back(self) -> None:
        self.used -= self.free_inside
        self.free_inside = 0

    def look(self, used: int, free_inside: int = 0) -> int:
        """What is used afterwards."""
        self.used, self.free_inside = used, free_inside
        self.restraint.look()
        return self.used


@pytest.mark.parametrize(
    ("used", "mark", "was_over", "expected"),
    [
        (99, 100, False, False),
        (100, 100, False, True),
        (90, 100, True, True),
        (89, 100, True, False),
        (10**12, None, True, False),
    ],
)
def test_a_mark_is_passed_from_it_on_until_a_tenth_below(
    used: int, mark: int | None, was_over: bool, expected: bool
) -> None:
    assert is_over(used, mark, was_over=was_over) is expected


def test_it_holds_once_and_goes_on_once_and_tells_both() -> None:
    scene = Scene()
    for used in (50, 99, 120, 130, 95, 80, 85):
        scene.look(used)
    assert scene.source.told == ["hold", "go on"]
    assert [notice.code for notice in scene.notices.told] == ["intake_held", "intake_released"]


def test_what_is_free_inside_the_process_is_no_reason_to_hold() -> None:
    scene = Scene()
    scene.look(130, free_inside=60)
    assert scene.source.told == []


def test_what_work_took_goes_back_once_the_work_is_done() -> None:
    scene = Scene()
    assert scene.look(70, free_inside=25) == 70
    scene.is_idle = True
    assert scene.look(70, free_inside=25) == 45
    assert scene.look(45, free_inside=1) == 45, "nothing has grown: not worth it"
    assert scene.look(49, free_inside=3) == 46


def test_it_says_how_much_is_used_as_long_as_it_holds() -> None:
    scene = Scene()
    scene.look(120)
    assert scene.restraint.because == "120 MiB of memory are used, 100 MiB are allowed"
    scene.look(50)
    assert scene.restraint.because == ""


def test_a_higher_mark_lets_it_go_on() -> None:
    scene = Scene()
    scene.look(120)
    scene.restraint.mark = 200 * _MIB
    scene.look(120)
    assert scene.source.told == ["hold", "go on"]


def test_when_nothing_is_unfinished_files_are_taken_though_the_alert_stays() -> None:
    scene = Scene()
    scene.look(120)
    scene.is_idle = True
    scene.look(120)
    assert scene.source.told == ["hold", "go on"]
    assert scene.restraint.because
    scene.is_idle = False
    scene.look(120)
    assert scene.source.told == ["hold", "go on", "hold"]
    assert [notice.code for notice in scene.notices.told] == ["intake_held"]
