"""The hash tree over the lines of the log (RFC 6962, section 2.1), grown leaf by leaf."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

# What tells a leaf from a node, so that neither can be passed off as the other (RFC 6962, 2.1).
_LEAF, _NODE = b"\x00", b"\x01"
EMPTY_ROOT = hashlib.sha256(b"").digest()


class Frontier:
    """All that must be kept of a tree to let it grow: the roots of its full parts, widest first."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)

    @property
    def is_sound(self) -> bool:
        """Whether a tree of this size has so many full parts, each with the root of a hash."""
        return len(self.peaks) == self.size.bit_count() and all(len(p) == 32 for p in self.peaks)

    def add(self, line: bytes) -> None:
        """Append a leaf."""
        node = hashlib.sha256(_LEAF + line).digest()
        size = self.size
        while size & 1:
            node = hashlib.sha256(_NODE + self.peaks.pop() + node).digest()
            size >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves so far, 32 bytes."""
        return _folded(self.peaks)

    def copy(self) -> Frontier:
        """One that grows apart."""
        return Frontier(self.size, self.peaks)


def _folded(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for left in reversed(peaks[:-1]):
        node = hashlib.sha256(_NODE + left + node).digest()
    return node
