"""What is left of a lost journal: the audit log, the verdicts, the claimed files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from conductor_loop.adapters.audit_files import log_files
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.keys.public import keys_of, read_chain
from conductor_loop.adapters.verdict_files import named_records, status_files
from conductor_loop.core.audit.endings import Ending, endings
from conductor_loop.core.audit.verification import verify
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent, Target
from conductor_loop.core.places import read_claimed
from conductor_loop.core.proof import prove
from conductor_loop.core.reconciling import Claim, Told, told_by
from conductor_loop.projections.audit.reading import lines_of

_AUDITED = re.compile(rb'"journal_seq":([0-9]+)')


def ended(folder: Path, *key_folders: Path) -> dict[str, Ending]:
    """How intents ended, as far as the audit log of a folder proves it: its signed part alone."""
    if not log_files(folder):
        return {}
    keys, _ = keys_of(next(filter(None, map(read_chain, key_folders)), ()))
    return endings(lines_of(folder), verify(lines_of(folder), keys, {}))


def newest_audited(state: Path) -> int:
    """The highest number of a journal's entry that the audit log tells of; 0 without one."""
    return max((seq for path in log_files(state)[-2:] for seq in _audited_in(path)), default=0)


def _audited_in(path: Path) -> Iterator[int]:
    with path.open("rb") as file:  # a file may have a gigabyte
        for line in file:
            yield from map(int, _AUDITED.findall(line))


def newest_named(layout: Layout, believed: Container[str]) -> int:
    """The newest record of the audit log that a believed verdict names; 0 without one."""
    named = named_records(os.fsencode(layout.path))
    return max((seq or 0 for each, (_, seq) in named.items() if each in believed), default=0)


def verdicts(layout: Layout, state: Path) -> tuple[dict[str, Told], tuple[str, ...]]:
    """What verdicts tell, by id; with keys at hand only those that prove themselves."""
    keys, _ = keys_of(read_chain(state))
    found: dict[str, Told] = {}
    unproved = []
    for path in status_files(os.fsencode(layout.path)):
        try:
            proof = prove(Path(os.fsdecode(path)).read_bytes(), keys)
        except OSError:
            continue
        told = told_by(proof)
        if told is None or (proof.faults and keys.by_kid):
            unproved.append(os.fsdecode(path))
        else:
            found[told.intent_id] = told
    return found, tuple(unproved)


def claims(layout: Layout, read: Callable[[bytes], Intent | Fault]) -> Iterator[Claim]:
    """Files that were claimed, by the id under which they were."""
    claimed = Path(layout.path) / ".conductor" / "claimed"
    for entry in sorted(os.listdir(layout.claimed)):
        found = read_claimed(os.fsencode(entry))
        if found is None:
            continue
        intent_id, name = found
        # A folder may hold any name, as an older daemon left it: only a start renews claims.
        for path in [claimed / entry] if name else _inside(claimed / entry):
            yield Claim(intent_id, _target(path, read))


def _inside(folder: Path) -> list[Path]:
    return [] if folder.is_symlink() or not folder.is_dir() else list(folder.iterdir())


def _target(path: Path, read: Callable[[bytes], Intent | Fault]) -> Target | None:
    if path.is_symlink() or not path.is_file():
        return None
    intent = read(path.read_bytes())
    return None if isinstance(intent, Fault) else intent.target
