"""Whether verdicts, filed intents and packages still are what was signed; looks, never writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conductor_loop import disk
from conductor_loop.adapters.beneath import digest_beneath, read_beneath
from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.core.evidence import differing_fields, outputs_of
from conductor_loop.core.faults import Fault
from conductor_loop.core.jws import Verifier
from conductor_loop.core.naming import shown, verdict_name
from conductor_loop.core.packages import BUILTIN
from conductor_loop.core.places import Place, filed_path
from conductor_loop.core.proof import Proof, prove
from conductor_loop.core.records import Summary
from conductor_loop.core.states import State
from conductor_loop.ports import Mismatch

# A step is some ten milliseconds of work; the loop sleeps in between.
_STEP_INTENTS, _STEP_BYTES = 10, 4 << 20
_LONGEST_VERDICT = 16 << 20


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie."""

    handoff: Path
    state: Path
    kek: Path | None
    out: Path | None
    """None when nobody but porch knows what belongs into OUT."""


class SignedThings:
    """`ports.Examiner`."""

    def __init__(self, places: Places, keys: Verifier) -> None:
        self._places, self._keys = places, keys

    def examine(self, seq: int) -> tuple[int, list[Mismatch]]:
        """See `ports.Examiner`."""
        with contextlib.closing(open_reader(self._places.state, self._places.kek)) as journal:
            look = _Look(journal, self._places, self._keys)
            found: list[Mismatch] = []
            for summary in journal.filed_after(seq, _STEP_INTENTS):
                found += look.at(summary)
                seq = summary.seq
                if look.bytes_read > _STEP_BYTES:
                    return seq, found
            more = journal.filed_after(seq, 1)
        return (seq if more else 0), found

    def still(self, mismatch: Mismatch) -> bool:
        """See `ports.Examiner`."""
        with contextlib.closing(open_reader(self._places.state, self._places.kek)) as journal:
            summary = journal.summary(mismatch.intent_id)
            if summary is None or summary.filed in (None, Place.GONE):
                return False
            return mismatch in _Look(journal, self._places, self._keys).at(summary)


class _Look:
    """One look at a few intents, with one journal open."""

    def __init__(self, journal: JournalReader, places: Places, keys: Verifier) -> None:
        self._journal, self._places, self._keys = journal, places, keys
        self.bytes_read = 0

    def at(self, summary: Summary) -> list[Mismatch]:
        """Everything about one intent that is not as it was."""
        return [
            Mismatch(summary.intent_id, summary.seq, code, subject, why)
            for code, subject, why in self._faults(summary)
        ]

    def _faults(self, summary: Summary) -> Iterator[tuple[str, str, str]]:
        try:
            handoff = disk.open_folder(os.fspath(self._places.handoff))
        except OSError:  # gone for now; the daemon says so itself
            return
        try:
            yield from self._file_faults(handoff, summary)
            proof = self._proof(handoff, summary)
        finally:
            os.close(handoff)
        name = shown(verdict_name(summary.name))
        if proof is None:
            yield "verdict_missing", name, "there is no verdict of it"
        elif proof.faults:
            yield "verdict_altered", name, proof.faults[0].message
        else:
            yield from self._verdict_faults(summary, name, proof)

    def _proof(self, handoff: int, summary: Summary) -> Proof | None:
        """The verdict of this very intent: an older one of its name, or the newest."""
        own = b"status/history/%b.status" % summary.intent_id.encode()
        for path in (own, b"status/" + verdict_name(summary.name)):
            try:
                data = read_beneath(handoff, path, _LONGEST_VERDICT)
            except FileNotFoundError:
                continue
            except OSError as error:
                return Proof(faults=(_unreadable(error),))
            self.bytes_read += len(data)
            proof = prove(data, self._keys)
            if proof.faults or proof.text("intent_id") == summary.intent_id:
                return proof
        return None

    def _verdict_faults(
        self, summary: Summary, name: str, proof: Proof
    ) -> Iterator[tuple[str, str, str]]:
        document = proof.document or {}
        differing = differing_fields(document, self._journal.history(summary.intent_id))
        if differing:
            yield "verdict_differs", name, f"the journal says otherwise: {', '.join(differing)}"
        elif summary.state is State.PUBLISHED and proof.text("porch_path") == BUILTIN:
            yield from self._package_faults(summary, outputs_of(document))

    def _file_faults(self, handoff: int, summary: Summary) -> Iterator[tuple[str, str, str]]:
        path = filed_path(Place(summary.filed or ""), summary.name, summary.intent_id)
        if path is not None and summary.digest:
            yield from self._digest_faults(handoff, path, summary.digest, "file")

    def _package_faults(
        self, summary: Summary, outputs: dict[str, str]
    ) -> Iterator[tuple[str, str, str]]:
        newest = self._journal.newest(summary.target)
        if self._places.out is None or newest is None or newest.intent_id != summary.intent_id:
            return
        try:
            out = disk.open_folder(os.fspath(self._places.out))
        except OSError as error:
            yield "package_missing", str(self._places.out), str(error.strerror)
            return
        try:
            for path, digest in outputs.items():
                yield from self._digest_faults(out, os.fsencode(path), digest, "package")
        finally:
            os.close(out)

    def _digest_faults(
        self, top: int, path: bytes, digest: str, what: str
    ) -> Iterator[tuple[str, str, str]]:
        try:
            found, size = digest_beneath(top, path)
        except FileNotFoundError:
            yield f"{what}_missing", shown(path), "it is gone"
            return
        except OSError as error:
            yield f"{what}_altered", shown(path), error.strerror or "it is no regular file"
            return
        self.bytes_read += size
        if found != digest:
            yield f"{what}_altered", shown(path), f"SHA-256 is {found}, signed was {digest}"


def _unreadable(error: OSError) -> Fault:
    return Fault("unreadable", error.strerror or "it is no regular file")
