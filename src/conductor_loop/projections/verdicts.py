"""The view of results: status/NAME.status is the newest intent's verdict, whole, or there is none.

Older verdicts lie in status/history/ID.status.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Protocol

import msgspec

from conductor_loop import disk
from conductor_loop.core.events import Admitted, Quarantined, Rejected
from conductor_loop.core.identity import is_ulid
from conductor_loop.core.naming import shown, verdict_name
from conductor_loop.core.records import Entry
from conductor_loop.core.verdict import (
    Ended,
    Service,
    build_verdict,
    encode_verdict,
    signed_verdict,
)
from conductor_loop.ports import Notices, Signer, Steps
from conductor_loop.projections.folders import (
    Folders,
    hidden_name,
    read_own,
    unusable,
    write_hidden,
)

# What begins a new life of a name; a duplicate leaves the verdict of the first alone.
_Arrived = Admitted | Rejected | Quarantined
# Files held open at a time, far below the usual limit of 1,024.
_AT_ONCE = 256
# Longer than any verdict: output is cut and lists are bounded by the intent.
_LONGEST_VERDICT = 16 << 20


class _Owner(msgspec.Struct):
    intent_id: str = ""


_Compose = Callable[[Entry], bytes | None]
_owner_decoder = msgspec.json.Decoder(_Owner)


AuditSeq = Callable[[int], int | None]
"""The record of the audit log that tells an entry of the journal, if one does."""


class Histories(Protocol):
    """The part of `ports.Catalog` that verdicts need."""

    def history(self, intent_id: str) -> Sequence[Entry]:
        """See `ports.Catalog`."""

    def successor(self, name: bytes, intent_id: str) -> str | None:
        """See `ports.Catalog`."""

    def overtaken(self, intent_ids: Sequence[str]) -> set[str]:
        """See `ports.Catalog`."""


class Verdicts:
    """`ports.Projection`: the last of all views, so a verdict that is seen means: all is done."""

    def __init__(
        self,
        folders: Folders,
        catalog: Histories,
        about: Service,
        signer: Signer,
        notices: Notices,
        audit_seq: AuditSeq,
    ) -> None:
        self._folders = folders
        self._catalog = catalog
        self.about = about
        """What every verdict says of the daemon; may be exchanged."""
        self._signer = signer
        self._notices = notices
        self._audit_seq = audit_seq

    def apply(self, entries: Sequence[Entry]) -> Steps:
        """See `ports.Projection`. Returns no places: filing has told them."""
        for start in range(0, len(entries), _AT_ONCE):
            batch = _Batch(self._folders, self._catalog, self._compose, self._notices)
            with unusable(self._folders.status, self._folders.history):
                yield from batch.publish(entries[start : start + _AT_ONCE])
        return ()

    def _compose(self, entry: Entry) -> bytes | None:
        """Write the verdict that an entry makes final, if it does and there is one."""
        if not isinstance(entry.event, Ended):
            return None
        # Nothing happened before that the verdict tells: it was refused, or ended at once.
        run = getattr(entry.event, "run", None)
        alone = isinstance(entry.event, Rejected | Quarantined) or (run and run.attempt == 1)
        history = [entry] if alone else self._catalog.history(_id(entry))
        document = build_verdict(history, self.about)
        if document is None:
            return None
        if (seq := self._audit_seq(entry.seq)) is not None:
            document["audit_seq"] = seq
        return encode_verdict(signed_verdict(document, self._signer.kid, self._signer.sign))


def verdict_owner(folder: int, name: bytes) -> str | None:
    """Tell whose verdict has a name: an id, empty for a foreign thing, None for nothing."""
    data = read_own(folder, name, _LONGEST_VERDICT)
    if data is None:
        return None
    try:
        owner = _owner_decoder.decode(data).intent_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return owner if is_ulid(owner) else ""


def history_name(intent_id: str) -> bytes:
    """Name the verdict of an intent in status/history/."""
    return intent_id.encode() + b".status"


class _Batch:
    """A few entries, published with one sync of their data and one of each folder."""

    def __init__(
        self, folders: Folders, catalog: Histories, compose: _Compose, notices: Notices
    ) -> None:
        self._compose = compose
        self._mode = folders.modes.file
        self._status = folders.status
        self._history = folders.history
        self._catalog = catalog
        self._notices = notices
        self._touched: set[int] = set()

    def publish(self, entries: Sequence[Entry]) -> Generator[Sequence[int], None, None]:
        """Clear the way for names that come again, then show every verdict whole."""
        drafts: list[Entry] = []
        handles: list[int] = []
        try:
            for entry in entries:
                if isinstance(entry.event, _Arrived):
                    self._make_way(entry)
                data = self._compose(entry)
                if data is not None:
                    handles.append(write_hidden(self._status, _hidden(entry), data, self._mode))
                    drafts.append(entry)
            if handles:
                yield handles
        finally:
            for handle in handles:
                os.close(handle)
        overtaken = self._catalog.overtaken([_id(entry) for entry in drafts])
        for entry in drafts:
            self._show(entry, is_newest=entry.intent_id not in overtaken)
        yield tuple(self._touched)

    def _show(self, entry: Entry, *, is_newest: bool) -> None:
        if is_newest:
            # Again: what did so when it arrived may have been set aside.
            self._make_way(entry)
            folder, name = self._status, verdict_name(_name(entry))
        else:
            folder, name = self._history, history_name(_id(entry))
        self._rename(_hidden(entry), folder, name, entry)

    def _make_way(self, entry: Entry) -> None:
        """Take away what could be read as this intent's verdict and is an earlier one's."""
        name = verdict_name(_name(entry))
        owner = verdict_owner(self._status, name)
        if owner is None or owner == entry.intent_id:
            return
        if owner and self._is_newer(entry, owner):
            return  # this entry is applied again, and the name has moved on since
        if owner and self._has_name(owner, _name(entry)):
            self._rename(name, self._history, history_name(owner), entry)
        else:
            self._move_aside(self._status, name, entry)

    def _is_newer(self, entry: Entry, owner: str) -> bool:
        later = self._catalog.successor(_name(entry), _id(entry))
        while later is not None and later != owner:
            later = self._catalog.successor(_name(entry), later)
        return later is not None

    def _has_name(self, intent_id: str, name: bytes) -> bool:
        history = self._catalog.history(intent_id)
        return bool(history) and _name(history[0]) == name

    def _rename(self, name: bytes, folder: int, new_name: bytes, entry: Entry) -> None:
        """Rename from status/, over whatever has the new name; nothing is followed."""
        self._touched |= {self._status, folder}
        try:
            os.rename(name, new_name, src_dir_fd=self._status, dst_dir_fd=folder)
        except IsADirectoryError:
            self._move_aside(folder, new_name, entry)
            os.rename(name, new_name, src_dir_fd=self._status, dst_dir_fd=folder)

    def _move_aside(self, folder: int, name: bytes, entry: Entry) -> None:
        """Keep what is not ours, out of the way, as status/history/ID.moved-aside."""
        self._touched |= {folder, self._history}
        new_name = self._free_name(_id(entry))
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=self._history)
        self._notices.report(
            "foreign_verdict",
            f"status/{shown(name)}",
            moved_to=f"status/history/{shown(new_name)}",
            intent_id=_id(entry),
        )

    def _free_name(self, intent_id: str) -> bytes:
        names = (f"{intent_id}{f'.{n}' if n else ''}.moved-aside".encode() for n in count())
        return next(name for name in names if not disk.exists(self._history, name))


def _hidden(entry: Entry) -> bytes:
    return hidden_name(_id(entry), b"status")


def _id(entry: Entry) -> str:
    assert entry.intent_id is not None
    return entry.intent_id


def _name(entry: Entry) -> bytes:
    assert entry.receipt is not None
    return entry.receipt.name
