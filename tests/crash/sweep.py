"""One call at a time, one number higher each time: disturb, look, restart, look again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from tests.crash.injection import KILLED, PLAUSIBLE, Usage, has_struck, saboteur
from tests.crash.invariants import Expected, broken_after_crash, broken_at_the_end
from tests.crash.scene import Scene
from tests.crash.survivors import children, survivors

# What the command line says of an exception that nobody expected.
_DEFECT = "this is a defect"


@dataclass(frozen=True, slots=True)
class Blow:
    """One disturbance that happened, and what came of it."""

    call: str
    fault: str
    number: int
    wrong: tuple[str, ...]
    """What breaks the promise."""
    blunt: str = ""
    """The last words of a daemon that ended safely, but as if by a defect."""


def sweep(scene: Scene, expected: Expected, usage: Usage, fault: str) -> Iterator[Blow]:
    """Disturb each call, from the first that touches the handoff, until a story ends unharmed."""
    for number in count(usage.numbers().start):
        blow = strike(scene, expected, usage.call, fault, number)
        if blow is None:
            return
        yield blow


def sample(
    scene: Scene, expected: Expected, used: Sequence[Usage], fault: str, blows: int
) -> Iterator[Blow]:
    """Disturb so many calls, spread evenly over all that a sweep would disturb."""
    points = [
        (usage.call, number)
        for usage in used
        if usage.call in PLAUSIBLE[fault]
        for number in usage.numbers()
    ]
    for index in range(blows):
        call, number = points[len(points) * index // blows]
        blow = strike(scene, expected, call, fault, number)
        if blow is not None:
            yield blow


def strike(scene: Scene, expected: Expected, call: str, fault: str, number: int) -> Blow | None:
    """Tell one story with one disturbance; None when it ended before that could happen."""
    scene.reset()
    known = children()
    log = scene.top.with_name(scene.top.name + "-strace")
    wrong: list[str] = []
    status, words = _run(scene, saboteur(call, fault, number, log), wrong)
    if not has_struck(log, status):
        return None
    wrong += [f"outlived its daemon: {each}" for each in survivors(known)]
    wrong += broken_after_crash(scene, expected)
    again, last_words = _run(scene, (), wrong)
    if again not in (0, 8):
        wrong.append(f"the restart ended with {again}: {last_words[-400:]}")
    wrong += broken_at_the_end(scene, expected)
    wrong += [f"outlived the restart: {each}" for each in survivors(known)]
    return Blow(call, fault, number, tuple(wrong), _blunt(words))


def _blunt(words: str) -> str:
    """The message of a daemon that ended as if by a defect, unless its own code was unreadable."""
    if _DEFECT not in words:
        return ""
    message = words.splitlines()[-2]
    return "" if "/conductor_loop/" in message else message


def _run(scene: Scene, before: Sequence[str], wrong: list[str]) -> tuple[int, str]:
    """Run once: exit status and stderr."""
    try:
        ended = scene.run_once(before)
    except subprocess.TimeoutExpired:
        wrong.append("hangs")
        return -9, ""
    if ended.returncode not in (0, 1, 8, *KILLED):
        wrong.append(f"ended with {ended.returncode}: {ended.stderr.strip()[-400:]}")
    return ended.returncode, ended.stderr.strip()
