"""Verdicts on disk, checked: their signatures, their names, and the files that they are about."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from conductor_loop.core.faults import Fault
from conductor_loop.core.jws import STATUS, Verifier
from conductor_loop.core.naming import shown, verdict_name
from conductor_loop.core.places import Place, filed_path
from conductor_loop.core.proof import Proof, about_of, prove

_STATUS, _HISTORY = b"status", b"history"
_SUFFIX = b".status"
# Longer than any verdict: output is cut and lists are bounded by the intent.
_LONGEST_VERDICT = 16 << 20
_PLACES = {
    "success": (Place.PROCESSED_ID, Place.PROCESSED),
    "skipped": (Place.PROCESSED_ID, Place.PROCESSED),
    "failed": (Place.FAILED_ID, Place.FAILED, Place.QUARANTINE),
    "timeout": (Place.FAILED_ID, Place.FAILED),
}


class Known(Protocol):
    """What the journal says, if there is one beside the verdicts."""

    def place_of(self, intent_id: str) -> str | None:
        """Where the file of an intent is (`core.places`); None when that is not known."""

    def successor(self, name: bytes, intent_id: str) -> str | None:
        """The next intent of this name, once every view tells of it; None when there is none."""


class NothingKnown:
    """`Known` without a journal: verdicts that were copied from elsewhere."""

    def place_of(self, intent_id: str) -> None:
        """See `Known`."""

    def successor(self, name: bytes, intent_id: str) -> None:
        """See `Known`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One status file and everything that is wrong with it."""

    path: bytes
    proof: Proof

    @property
    def shown_path(self) -> str:
        """The path, fit for a terminal."""
        return shown(self.path)


def status_files(handoff: bytes) -> Iterator[bytes]:
    """The path of every verdict of a handoff folder, older ones too; half-written ones are not."""
    for folder in (b"%b/status" % handoff, b"%b/status/history" % handoff):
        try:
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            continue
        yield from (
            folder + b"/" + name
            for name in names
            if name.endswith(_SUFFIX) and not name.startswith(b".")
        )


class _Named(msgspec.Struct):
    intent_id: str = ""
    audit_seq: int | None = None


def named_records(handoff: bytes) -> dict[str, tuple[str, int | None]]:
    """Intent id to the path of its verdict and the `audit_seq` in it; unreadable ones are not.

    Signatures are not looked at: `check_file` does that.
    """
    decoder, found = msgspec.json.Decoder(_Named), {}
    for path in status_files(handoff):
        data = _read(path, _LONGEST_VERDICT)
        if isinstance(data, Fault):
            continue
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            named = decoder.decode(data)
            if named.intent_id:
                found[named.intent_id] = (shown(path), named.audit_seq)
    return found


def check_file(path: bytes, keys: Verifier, known: Known) -> Checked:
    """Check one status file; where it stands in a handoff folder, also what is around it."""
    data = _read(path, _LONGEST_VERDICT)
    if isinstance(data, Fault):
        return Checked(path, Proof(faults=(data,)))
    proof = prove(data, keys)
    if proof.faults:
        return Checked(path, proof)
    if about_of(proof.document or {}) != STATUS and not path.endswith(_SUFFIX):
        return Checked(path, proof)  # a report stands anywhere and is about no file
    stale = _stale(path, proof, known)
    if stale is not None and _read(path, _LONGEST_VERDICT) != data:
        return check_file(path, keys, known)  # the daemon has just written the newer one
    around = (*_name_faults(path, proof), *_intent_faults(path, proof, known.place_of))
    faults = around if stale is None else (stale, *around)
    return Checked(path, replace(proof, faults=faults))


def _read(path: bytes, longest: int) -> bytes | Fault:
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return Fault("not_a_regular_file", "it is no regular file, which every verdict is")
        with open(path, "rb", buffering=0) as file:
            data = file.read(longest + 1) or b""
    except OSError as error:
        return Fault("unreadable", f"it cannot be read: {error.strerror}")
    return data if len(data) <= longest else Fault("too_large", "no verdict is so large")


def _name_faults(path: bytes, proof: Proof) -> Iterator[Fault]:
    name, own = os.path.basename(path), proof.text("intent_id").encode() + _SUFFIX
    if name not in (own, verdict_name(proof.intent_name)):
        yield Fault(
            "verdict_misplaced",
            f"it is the verdict of {shown(proof.intent_name)}, {proof.text('intent_id')}",
            "a whole verdict was copied over another one's name",
        )


def _stale(path: bytes, proof: Proof, known: Known) -> Fault | None:
    """An earlier verdict of a name under that name; its place would be status/history/."""
    if os.path.basename(os.path.dirname(os.path.abspath(path))) != _STATUS:
        return None
    newer = known.successor(proof.intent_name, proof.text("intent_id"))
    if newer is None:
        return None
    return Fault(
        "verdict_outdated",
        f"a newer intent of this name, {newer}, came since",
        "an earlier verdict was put back over the newest one",
    )


def _intent_faults(
    path: bytes, proof: Proof, place_of: Callable[[str], str | None]
) -> Iterator[Fault]:
    handoff, digest = _handoff_of(path), proof.text("intent_sha256")
    # A retry has no file of its own; what was set aside unread has no digest.
    if handoff is None or not digest or proof.text("retry_of"):
        return
    intent_id = proof.text("intent_id")
    recorded = place_of(intent_id)
    for place in _PLACES.get(proof.text("status"), ()):
        relative = filed_path(place, proof.intent_name, intent_id)
        if relative is None or recorded not in (None, place):
            continue
        found = _digest(handoff + b"/" + relative)
        if found is None:
            continue
        if found != digest:
            yield Fault(
                "intent_altered",
                f"{shown(relative)} has other bytes than the verdict tells: SHA-256 {found}",
                f"the verdict is about bytes with SHA-256 {digest}",
            )
        return


def _handoff_of(path: bytes) -> bytes | None:
    """The handoff folder that a status file stands in, if it stands in one."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.basename(folder) == _HISTORY:
        folder = os.path.dirname(folder)
    return os.path.dirname(folder) if os.path.basename(folder) == _STATUS else None


def _digest(path: bytes) -> str | None:
    """SHA-256 of a regular file; None when there is none."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
