"""Where the log stands after a record: what the next one chains to, and which intents are open.

The daemon keeps one while it writes; whoever verifies grows one from the lines and compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from conductor_loop.core.audit.merkle import Frontier
from conductor_loop.core.audit.records import CLAIMS, FINALS, AuditRecord, Details
from conductor_loop.core.security_events import CLAIM, DISCARDED, ENDED

NO_LINE = "0" * 64
"""`prev` of the first record."""
GAP = "log.gap"
_DISCARDED = f"security.{DISCARDED}"
TREE = "tree"
"""The detail in which a record says where the log stood before it."""


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ledger as a record tells it: about all records before that one."""

    claimed: int
    """Intents that began, ever."""
    ended: int
    """Intents that became final or were discarded, ever."""
    frontier: tuple[str, ...]
    """Roots of the full parts of the hash tree, widest first, in hex."""
    journal_seq: int
    """The newest entry of the journal that is told."""
    open: tuple[str, ...]
    """Ids that began and did not end, in order of their beginning."""
    open_sha256: str
    """SHA-256, in hex, of those ids, each followed by a line feed."""
    origin: str
    """Whose log this is, as its checkpoints name it."""
    root: str
    """Root of the hash tree over all lines (RFC 6962), in hex."""
    size: int
    """How many records there are."""


class Gap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entries of the journal that this log does not tell, and what was open after them."""

    after: int
    """The last entry that is told before."""
    open: tuple[str, ...]
    reason: str
    """`begun`, `switched_off`, `restored`, `journal_replaced`, or `unexplained`."""
    to: int
    """The last entry that is not told; for a replaced journal, where that one stands."""
    lost_to: int = 0
    """With `restored`: the newest record that a verdict names; those that the log did not have
    when it was taken up again, up to this one, were lost with a state dir."""


INNOCENT = frozenset({"begun", "switched_off", "restored"})
"""Why a log may leave entries out without anybody having touched it."""


class Broken(Exception):
    """A record that cannot follow the ones before it: a code and what is wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class Ledger:
    """Grows record by record."""

    origin: str
    tree: Frontier = field(default_factory=Frontier)
    prev: str = NO_LINE
    journal_seq: int = 0
    claimed: int = 0
    ended: int = 0
    open: dict[str, None] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many records there are; the seq of the newest."""
        return self.tree.size

    def copy(self) -> Ledger:
        """One that grows apart."""
        return Ledger(
            self.origin, self.tree.copy(), self.prev, self.journal_seq,
            self.claimed, self.ended, dict(self.open),
        )  # fmt: skip

    def add(self, record: AuditRecord, line: bytes) -> Broken | None:
        """Grow by one record; tell when it ends what is not open, or begins what is.

        Such a record changes nothing but the chain. Raises Broken for one that cannot be read.
        """
        self.tree.add(line)
        self.prev = hashlib.sha256(line).hexdigest()
        if record.journal_seq is not None:
            self.journal_seq = record.journal_seq
        if record.action == GAP:
            self._begin_anew(gap_of(record.details))
        if record.action == _DISCARDED and record.details.get(CLAIM) == ENDED:
            self._give_up(record.resource)
        broken = self._claim(record.intent_id) if record.action in CLAIMS else None
        if record.action in FINALS:
            broken = self._end(record.intent_id) or broken
        return broken

    def _claim(self, intent_id: str) -> Broken | None:
        if intent_id in self.open:
            return Broken("claimed_twice", f"{intent_id} is claimed, and was open already")
        self.claimed += 1
        self.open[intent_id] = None
        return None

    def _end(self, intent_id: str) -> Broken | None:
        if intent_id not in self.open:
            return Broken(
                "final_without_claim",
                f"{intent_id} becomes final, and was not open: it was final before, or its claim "
                "is missing",
            )
        self.ended += 1
        del self.open[intent_id]
        return None

    def _give_up(self, intent_id: str) -> None:
        """Nothing is left of it but its file, which may be claimed anew."""
        if intent_id in self.open:
            self.ended += 1
            del self.open[intent_id]

    def _begin_anew(self, gap: Gap) -> None:
        """What happened in a gap is not told: only what was open at its end is."""
        now_open = dict.fromkeys(gap.open)
        self.claimed += len(now_open.keys() - self.open.keys())
        self.ended += len(self.open.keys() - now_open.keys())
        self.open = now_open
        self.journal_seq = gap.to

    def standing(self) -> Standing:
        """What a record tells of everything before it."""
        return Standing(
            claimed=self.claimed,
            ended=self.ended,
            frontier=tuple(peak.hex() for peak in self.tree.peaks),
            journal_seq=self.journal_seq,
            open=tuple(self.open),
            open_sha256=digest_of(self.open),
            origin=self.origin,
            root=self.tree.root().hex(),
            size=self.size,
        )


def ledger_from(standing: Standing, prev: str) -> Ledger:
    """The ledger that a record tells of. Raises Broken when it contradicts itself."""
    try:
        tree = Frontier(standing.size, map(bytes.fromhex, standing.frontier))
    except ValueError as error:
        raise Broken("standing_malformed", f"its frontier is not hex: {error}") from error
    if not tree.is_sound or tree.root().hex() != standing.root:
        raise Broken("standing_malformed", "its root is not that of its frontier")
    if digest_of(standing.open) != standing.open_sha256:
        raise Broken("standing_malformed", "its digest is not that of its open intents")
    if standing.claimed - standing.ended != len(standing.open):
        raise Broken("standing_malformed", "claimed less ended is not the number of open intents")
    opened = dict.fromkeys(standing.open)
    return Ledger(
        standing.origin, tree, prev, standing.journal_seq,
        standing.claimed, standing.ended, opened,
    )  # fmt: skip


def standing_of(details: Details) -> Standing | None:
    """Where the log stood, if a record tells it. Raises Broken when what it tells is malformed."""
    if TREE not in details:
        return None
    try:
        return msgspec.convert(details[TREE], Standing)
    except msgspec.ValidationError as error:
        raise Broken(
            "standing_malformed", f"what it says of the log is malformed: {error}"
        ) from None


def gap_of(details: Details) -> Gap:
    """What a record of a gap says. Raises Broken when it is malformed."""
    try:
        return msgspec.convert(details, Gap)
    except msgspec.ValidationError as error:
        raise Broken("gap_malformed", f"what it says of the gap is malformed: {error}") from None


def digest_of(ids: Iterable[str]) -> str:
    """SHA-256, in hex, of ids, each followed by a line feed."""
    return hashlib.sha256("".join(f"{one}\n" for one in ids).encode()).hexdigest()
