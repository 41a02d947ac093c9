"""A producer with a ledger, a daemon killed at random moments, the outcomes against the ledger."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field

from conductor_loop.core.states import State
from tests.crash.invariants import broken_journal_and_files, endings, order_taken
from tests.crash.scene import Scene, With, digest, intent
from tests.crash.survivors import children, survivors

TARGETS = ("amf", "smf", "upf", "nrf", "ausf")
# From before the daemon is up (about 0.3 s) to well into its work.
LONGEST_LIFE_SECONDS = 1.2
MOST_AT_ONCE = 20
# From one that is over at once to the usual one, in which others come while files settle.
DEBOUNCES = ("1ms", "100ms", "500ms")


@dataclass(slots=True)
class Soak:
    """What one soak handed over, and what was wrong in the end."""

    kills: int = 0
    ledger: Counter[tuple[bytes, str, State]] = field(default_factory=Counter)
    newest: dict[str, int] = field(default_factory=dict)
    """Replicas of the last intent of each target."""
    wrong: list[str] = field(default_factory=list)


def soak(scene: Scene, kills: int, seed: int) -> Soak:
    """Kill the daemon so many times while a producer hands over; then let it end, and compare."""
    chance, story = random.Random(seed), Soak()
    scene.furnish()
    known = children()
    while story.kills < kills:
        _live_and_die(scene, story, chance)
    story.wrong += [f"outlived its daemon: {each}" for each in survivors(known)]
    ended = scene.run_once()
    if ended.returncode != 0:
        story.wrong.append(f"the end: {ended.returncode}, {ended.stderr.strip()[-400:]}")
    story.wrong += broken_journal_and_files(scene)
    if (found := endings(scene)) != story.ledger:
        story.wrong.append(f"endings {found - story.ledger}, not {story.ledger - found}")
    if (taken := order_taken(scene)) != sorted(taken):
        late = [after for before, after in itertools.pairwise(taken) if after < before]
        story.wrong.append(f"overtaken: {late}")
    if scene.publisher is With.BUILTIN:
        story.wrong += _overtaken(scene, story)
    return story


def _live_and_die(scene: Scene, story: Soak, chance: random.Random) -> None:
    """One life of a daemon, with files handed over before, during and perhaps after it."""
    _hand_over_some(scene, story, chance)
    command = scene.command("-debounce", chance.choice(DEBOUNCES))
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + chance.uniform(0, LONGEST_LIFE_SECONDS)
    while time.monotonic() < end:
        if chance.random() < 0.1:
            _hand_over_some(scene, story, chance)
        time.sleep(chance.uniform(0, 0.02))
    daemon.kill()
    if daemon.wait() != -9:
        story.wrong.append(f"the daemon ended by itself: {daemon.returncode}")
    story.kills += 1


def _hand_over_some(scene: Scene, story: Soak, chance: random.Random) -> None:
    for _ in range(chance.randint(0, MOST_AT_ONCE)):
        number, target = story.ledger.total(), chance.choice(TARGETS)
        name, body = f"intent-{number:06d}.json", intent(target, chance.randint(0, 100))
        scene.hand_over({name: body})
        story.ledger[name.encode(), digest(body), State.PUBLISHED] += 1
        story.newest[target] = int(body.rpartition(b" ")[2][:-1])


def _overtaken(scene: Scene, story: Soak) -> list[str]:
    """Targets whose package is not that of their last intent."""
    found = {}
    for target in story.newest:
        patch = (scene.out / "oran-sim" / target / "scaling-patch.yaml").read_text()
        replicas = re.search(r"replicas: (\d+)", patch)
        found[target] = int(replicas[1]) if replicas else -1
    return [] if found == story.newest else [f"packages {found}, not {story.newest}"]
