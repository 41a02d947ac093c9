"""What must hold after a crash, and what must hold once a restart has come to its end."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from conductor_loop.adapters.journal import open_reader
from conductor_loop.adapters.keys.public import keys_of, read_chain
from conductor_loop.core.events import (
    Duplicated,
    Failed,
    Published,
    Quarantined,
    Rejected,
    Skipped,
    TimedOut,
)
from conductor_loop.core.places import Place, claimed_path, filed_path
from conductor_loop.core.records import Summary
from conductor_loop.core.states import FINAL, State
from conductor_loop.operations.audit_proof import journal_of, prove_log
from tests.crash.scene import FRESH, PAST, Scene, With, digest, tree

# SQLite's own, and the private staging, where a target's next package writes over the last.
_FINAL = (Published, Failed, TimedOut, Skipped, Rejected, Quarantined, Duplicated)
_COMING_AND_GOING = (".conductor/journal.db-", ".conductor/packages/")
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
STATUS_OF = {
    State.PUBLISHED: "success",
    State.FAILED: "failed",
    State.REJECTED: "failed",
    State.QUARANTINED: "failed",
    State.TIMED_OUT: "timeout",
    State.SKIPPED: "skipped",
}
"""The status that each final state's verdict tells; a duplicate has no verdict of its own."""

FIRST, SECOND = b"intent-1-first.json", b"intent-2-second.json"
"""The two for one target."""
HANDED_OVER = sorted(digest(body) for body in (*PAST.values(), *FRESH.values()))
"""What went in, to be told from what the journal says went in."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How the story ends when nothing disturbs it."""

    endings: Counter[tuple[bytes, str, State]]
    """Name, digest and final state of each intent."""
    packages: dict[bytes, dict[str, str]]
    """Digest of every file in OUT, by the name that the journal has last of the shared target.

    A file that could not be claimed for a moment may be taken after one that was younger.
    """
    names: Counter[str]
    """Every path below the handoff, ids made alike."""
    versions: frozenset[tuple[tuple[str, str], ...]]
    """Each whole package that may be seen at some moment."""


def expect(scene: Scene) -> Expected:
    """Live through the story undisturbed. Raises RuntimeError when even that goes wrong."""
    scene.reset()
    before = scene.packages()
    ended = scene.run_once()
    if ended.returncode != 8:
        raise RuntimeError(f"the story ends with {ended.returncode}, not 8: {ended.stderr}")
    after = scene.packages()
    ends, names = endings(scene), _names(scene)
    wrong = [*broken_journal_and_files(scene)]
    if wrong or sorted(sha for _, sha, _ in ends.elements()) != HANDED_OVER:
        raise RuntimeError(f"the story goes wrong undisturbed: {wrong or ends}")
    swapped = _packages_without_second(scene) if scene.publisher is With.BUILTIN else after
    versions = (each for files in (before, after, swapped) for each in _by_package(files).values())
    return Expected(ends, {SECOND: after, FIRST: swapped}, names, frozenset(versions))


def broken_after_crash(scene: Scene, expected: Expected) -> list[str]:
    """What is wrong while nothing runs after a crash: half a package, a verdict too early."""
    wrong = []
    if scene.publisher is With.BUILTIN:
        for name, package in _by_package(scene.packages()).items():
            if package not in expected.versions:
                wrong.append(f"{name} is half-written: {package}")
    for verdict in _verdicts(scene):
        if verdict is None:
            wrong.append("a verdict is half-written")
        elif _is_waiting(scene, str(verdict["intent_id"]), str(verdict["intent_file"])):
            wrong.append(f"{verdict['intent_file']} has its verdict but is not filed")
    return wrong


def broken_at_the_end(scene: Scene, expected: Expected) -> list[str]:
    """What is wrong after the restart came to its end."""
    wrong = broken_journal_and_files(scene)
    if (ends := endings(scene)) != expected.endings:
        wrong.append(f"endings {ends - expected.endings}, not {expected.endings - ends}")
    last = next(each.name for each in _summaries(scene) if each.name in expected.packages)
    if (packages := scene.packages()) != expected.packages[last]:
        wrong.append(f"other packages: {packages.items() ^ expected.packages[last].items()}")
    names = _names(scene)
    if left := names - expected.names:
        wrong.append(f"left behind: {left}")
    if missing := {name for name in expected.names - names if not name.startswith(".conductor/")}:
        wrong.append(f"missing: {missing}")
    return wrong


def broken_journal_and_files(scene: Scene) -> list[str]:
    """What is wrong with any handoff whose daemon came to the end of its work."""
    return [
        *_unfinished(scene),
        *_misplaced(scene),
        *_misjudged(scene),
        *_inconsistent(scene),
        *_unproved(scene),
    ]


def _summaries(scene: Scene) -> list[Summary]:
    reader = open_reader(scene.state)
    try:
        return list(reader.summaries(limit=1_000_000))
    finally:
        reader.close()


def _names(scene: Scene) -> Counter[str]:
    """Temporary files that stay behind show up here, whatever they are called."""
    paths = (str(path.relative_to(scene.handoff)) for path in scene.handoff.rglob("*"))
    return Counter(_ID.sub("ID", path) for path in paths if not path.startswith(_COMING_AND_GOING))


def endings(scene: Scene) -> Counter[tuple[bytes, str, State]]:
    """Name, digest and state of every intent that the journal knows."""
    return Counter((each.name, each.digest, each.state) for each in _summaries(scene))


def order_taken(scene: Scene) -> list[bytes]:
    """Name of every intent that the journal knows, the first that it knew first."""
    return [each.name for each in reversed(_summaries(scene))]


def _unfinished(scene: Scene) -> Iterator[str]:
    """Files still handed over, claims still held, staging left behind."""
    for path in scene.handoff.glob("intent-*"):
        yield f"still in the handoff: {path.name}"
    for folder in ("claimed", "quarantine"):
        for path in (scene.state / folder).rglob("*"):
            yield f"left in {folder}: {path.name}"
    for each in _summaries(scene):
        if each.state not in FINAL:
            yield f"{each.name!r} is {each.state}"


def _misplaced(scene: Scene) -> Iterator[str]:
    """Files that are not where the journal says, whole, and only there."""
    found = {
        f"{folder}/{name}": sha
        for folder in ("processed", "failed")
        for name, sha in tree(scene.handoff / folder).items()
    }
    logs = {name for name in found if name.endswith(".error.log")}
    told = dict(_filed(each) for each in _summaries(scene))
    if (files := {name: found[name] for name in found.keys() - logs}) != told:
        yield f"filed otherwise than told: {sorted(files.items() ^ told.items())}"
    failed = {f"{name}.error.log" for name in told if name.startswith("failed/")}
    if logs != failed:
        yield f"error logs {sorted(logs)}, wanted {sorted(failed)}"


def _filed(each: Summary) -> tuple[str, str]:
    path = None if each.filed is None else filed_path(Place(each.filed), each.name, each.intent_id)
    return (path or each.name).decode(), each.digest


def _misjudged(scene: Scene) -> Iterator[str]:
    """Intents without exactly one verdict that tells their state."""
    verdicts = Counter(
        (str(verdict["intent_id"]), str(verdict["status"]))
        for verdict in _verdicts(scene)
        if verdict is not None
    )
    wanted = Counter(
        (each.intent_id, STATUS_OF[each.state])
        for each in _summaries(scene)
        if each.state in STATUS_OF
    )
    if verdicts != wanted:
        yield f"verdicts {verdicts - wanted} too many, {wanted - verdicts} too few"


def _unproved(scene: Scene) -> Iterator[str]:
    """What the audit log does not prove, `--complete` included."""
    keys, _ = keys_of(read_chain(scene.state))
    journal = journal_of(scene.state)
    proof = prove_log(scene.handoff, scene.state, keys, journal, anchors={}, is_complete=True)
    for fault in proof.faults:
        yield f"audit log, record {fault.seq}: {fault.code}: {fault.message}"
    if journal is not None:
        journal.close()


def _inconsistent(scene: Scene) -> Iterator[str]:
    """Faults of the journal itself."""
    reader = open_reader(scene.state)
    if reader.position() != reader.last_seq():
        yield f"views stand at {reader.position()} of {reader.last_seq()}"
    if reader.parked():
        yield f"set aside: {reader.parked()}"
    reader.close()
    connection = apsw.Connection(str(scene.state / "journal.db"))
    checked = connection.execute("PRAGMA integrity_check").get
    connection.close()
    if checked != "ok":
        yield f"integrity check: {checked}"
    yield from _ended_twice(scene)


def _ended_twice(scene: Scene) -> Iterator[str]:
    reader = open_reader(scene.state)
    finals = sum(isinstance(e.event, _FINAL) for e in reader.after(0, 1_000_000))
    intents = sum(reader.counts().values())
    reader.close()
    if finals != intents:
        yield f"{finals} final events for {intents} intents"


def _verdicts(scene: Scene) -> Iterator[dict[str, object] | None]:
    """Every verdict that can be seen; a hidden name is not yet one."""
    for path in sorted((scene.handoff / "status").rglob("[!.]*.status")):
        try:
            yield json.loads(path.read_bytes())
        except ValueError:
            yield None


def _is_waiting(scene: Scene, intent_id: str, name: str) -> bool:
    """Whether the very file that a verdict tells of is still claimed."""
    place = claimed_path(intent_id, os.fsencode(name))
    return (scene.state / "claimed" / os.fsdecode(place)).exists()


def _by_package(files: dict[str, str]) -> dict[str, tuple[tuple[str, str], ...]]:
    packages: dict[str, list[tuple[str, str]]] = {}
    for path, sha in files.items():
        packages.setdefault(str(Path(path).parent), []).append((path, sha))
    return {name: tuple(sorted(package)) for name, package in packages.items()}


def _packages_without_second(scene: Scene) -> dict[str, str]:
    scene.reset()
    (scene.handoff / SECOND.decode()).unlink()
    scene.run_once()
    return scene.packages()
