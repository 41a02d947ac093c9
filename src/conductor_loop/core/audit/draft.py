"""Records on their way into the log: numbered, chained, the newest signed, as bytes to append."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from conductor_loop.core.audit.ledger import TREE, Broken, Ledger
from conductor_loop.core.audit.records import (
    AuditRecord,
    Details,
    encode_line,
    own_record,
    record_of,
)
from conductor_loop.core.audit.signing import signed
from conductor_loop.core.jws import Sign
from conductor_loop.core.records import Entry


class Draft:
    """What one write appends. The ledger it is made with is its own to grow."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.seqs: dict[int, int] = {}
        """The seq of each entry of the journal that it tells."""
        self.broken: list[Broken] = []
        """What cannot be: an end without a beginning, or the reverse."""
        self._lines: list[bytes] = []
        self._held: AuditRecord | None = None

    @property
    def size(self) -> int:
        """The seq of the newest record."""
        return self.ledger.size + (self._held is not None)

    def tell(self, entries: Sequence[Entry]) -> None:
        """Add a record for each entry of the journal."""
        for entry in entries:
            self._add(record_of(entry))
            self.seqs[entry.seq] = self.size

    def note(self, action: str, now: datetime, details: Details, severity: str = "") -> None:
        """Add a record about the log itself."""
        self._add(own_record(action, self.size + 1, now, details, severity))

    def note_standing(self, action: str, now: datetime, details: Details) -> None:
        """As `note`, and have it say where the log stood before it."""
        self._settle()
        standing = msgspec.to_builtins(self.ledger.standing())
        self.note(action, now, {**details, TREE: standing})

    def finished(self, kid: str, sign: Sign) -> bytes:
        """Sign the newest record, and return all lines."""
        assert self._held is not None
        self._held = signed(self._held, kid, sign)
        self._settle()
        return b"".join(self._lines)

    def _add(self, record: AuditRecord) -> None:
        self._settle()
        record.seq = self.ledger.size + 1
        record.prev = self.ledger.prev
        self._held = record

    def _settle(self) -> None:
        """The newest record is held back, because its line is not known before it is signed."""
        if self._held is None:
            return
        line = encode_line(self._held)
        broken = self.ledger.add(self._held, line)
        if broken is not None:
            self.broken.append(broken)
        self._lines += (line, b"\n")
        self._held = None
