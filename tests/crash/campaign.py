"""Many sweeps, some at a time, each process on scenes of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.crash.injection import PLAUSIBLE, Usage, usages
from tests.crash.invariants import Expected, expect
from tests.crash.record import Sweep
from tests.crash.scene import Scene, With
from tests.crash.survivors import adopt_orphans
from tests.crash.sweep import sweep


@dataclass(frozen=True, slots=True)
class Task:
    """One call, disturbed in one way, with one publisher."""

    publisher: With
    fault: str
    usage: Usage


def campaign(
    top: Path, faults: Sequence[str], publishers: Sequence[With], processes: int
) -> Iterator[Sweep]:
    """Run every sweep, some at a time, and print each as it ends."""
    began = time.monotonic()
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=adopt_orphans
    ) as pool:
        planned = [pool.submit(_plan, top, publisher) for publisher in publishers]
        used = {
            publisher: plan.result() for publisher, plan in zip(publishers, planned, strict=True)
        }
        tasks = [
            Task(publisher, fault, usage)
            for publisher, calls in used.items()
            for fault in faults
            for usage in calls
            if usage.call in PLAUSIBLE[fault]
        ]
        running = [pool.submit(_run, top, task) for task in tasks]
        for number, done in enumerate(as_completed(running), 1):
            told = done.result()
            minutes = (time.monotonic() - began) / 60
            print(f"[{number}/{len(tasks)}, {minutes:.0f} min] {told.line()}", flush=True)
            yield told


@cache
def _story(top: Path, publisher: With) -> tuple[Scene, Expected]:
    """The scene of this process for this publisher, and how it ends undisturbed."""
    process = multiprocessing.current_process().name
    scene = Scene(top / process / publisher.name / "scene", publisher)
    scene.prepare()
    return scene, expect(scene)


def _plan(top: Path, publisher: With) -> Sequence[Usage]:
    scene, _ = _story(top, publisher)
    return usages(scene)


def _run(top: Path, task: Task) -> Sweep:
    scene, expected = _story(top, task.publisher)
    told = Sweep(task.publisher, task.fault, task.usage.call)
    for blow in sweep(scene, expected, task.usage, task.fault):
        told.blows += 1
        if blow.wrong:
            told.wrong.append(f"{blow.number}: {'; '.join(blow.wrong)}")
        if blow.blunt:
            told.blunt.append(f"{blow.number}: {blow.blunt}")
    return told
