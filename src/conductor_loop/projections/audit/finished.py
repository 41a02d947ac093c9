"""Whether the finished files of the log still are, bit for bit, what was signed; looks, slowly.

Each file begins with a signed record that tells the hash tree over everything before it. So a
file is proved by its own beginning, the hashes of its lines, and the beginning of the next one;
no line in between is parsed, and nothing is kept of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import IO

from conductor_loop import disk
from conductor_loop.core.audit.ledger import Broken, Ledger, ledger_from, standing_of
from conductor_loop.core.audit.merkle import Frontier
from conductor_loop.core.audit.signing import record_fault
from conductor_loop.core.jws import Verifier
from conductor_loop.ports import Mismatch
from conductor_loop.projections.audit.files import FOLDER, first_record, names

# A step is some ten milliseconds of work; the loop sleeps in between.
_STEP_BYTES = 1 << 20
# A record names every open intent, 29 bytes each: two million of them.
_LONGEST_LINE = 64 << 20
_ALTERED = "audit_altered"


class FinishedFiles:
    """`ports.Examiner`; where a round stands is its own to know, and lost with the process."""

    def __init__(self, state: str, keys: Verifier) -> None:
        self._state, self._keys = state, keys
        self._round: Iterator[list[Mismatch]] = iter(())
        self._steps = 0

    def examine(self, seq: int) -> tuple[int, list[Mismatch]]:
        """See `ports.Examiner`; `seq` counts steps of the round that 0 begins."""
        if seq == 0:
            self._round, self._steps = self._whole_round(), 0
        found = next(self._round, None)
        if found is None:
            return 0, []
        self._steps += 1
        return self._steps, found

    def still(self, mismatch: Mismatch) -> bool:
        """See `ports.Examiner`; a file that retention took meanwhile is none."""
        return any(mismatch in found for found in self._whole_round(mismatch.subject))

    def _whole_round(self, only: str = "") -> Iterator[list[Mismatch]]:
        """One step after another, each with what it found; of one file, if it is named."""
        try:
            folder = disk.open_folder(os.path.join(self._state, os.fsdecode(FOLDER)))
        except OSError:  # there is no log; the next start misses one that was kept
            return
        try:
            for name, following in pairwise(names(folder)):
                shown = os.fsdecode(name)
                if only in ("", shown):
                    for why in self._steps_in(folder, name, following):
                        yield [Mismatch("", 0, _ALTERED, shown, why)] if why else []
        finally:
            os.close(folder)

    def _steps_in(self, folder: int, name: bytes, following: bytes) -> Iterator[str]:
        """Why a file does not lead to the next, at the end; nothing of steps before that."""
        try:
            now = self._beginning(folder, name)
            wanted = self._beginning(folder, following)
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
                while _grow(now.tree, file):
                    yield ""
        except Broken as broken:
            yield broken.message
            return
        except FileNotFoundError:  # past its retention
            return
        except OSError as error:
            yield f"it cannot be read: {error.strerror}"
            return
        if now.tree.size != wanted.tree.size or now.tree.root() != wanted.tree.root():
            yield (
                f"its lines are not those that {os.fsdecode(following)} was signed to follow;"
                " audit verify names the first"
            )

    def _beginning(self, folder: int, name: bytes) -> Ledger:
        """Where the log stood before a file, by its first record. Raises Broken and OSError."""
        record = first_record(folder, name)
        shown = os.fsdecode(name)
        standing = standing_of(record.details) if record is not None else None
        if record is None or standing is None:
            raise Broken("beginning_missing", f"{shown} does not begin as a file of the log does")
        if not record.signature or record_fault(record, self._keys) is not None:
            raise Broken("signature_wrong", f"the first record of {shown} is not signed by us")
        return ledger_from(standing, record.prev)


def _grow(tree: Frontier, file: IO[bytes]) -> bool:
    """Add the lines of the next step; whether there were any. Raises Broken."""
    begin = file.tell()
    while file.tell() - begin < _STEP_BYTES and (line := file.readline(_LONGEST_LINE)):
        if not line.endswith(b"\n"):
            raise Broken("not_a_record", "a line does not end, or is longer than any record")
        tree.add(line[:-1])
    return file.tell() > begin
