"""Ids: one ULID per submission, sortable by the moment it was made (github.com/ulid/spec)."""

from __future__ import annotations

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _CROCKFORD for b in _CROCKFORD]
_ENTROPY_BITS = 80
ULID_LENGTH = 26


def ulid(milliseconds: int, entropy: int) -> str:
    """Encode 48 bits of Unix milliseconds and 80 bits of entropy as 26 Crockford characters."""
    value = (milliseconds << _ENTROPY_BITS) | (entropy & ((1 << _ENTROPY_BITS) - 1))
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])


def is_ulid(text: str) -> bool:
    """Tell whether a text has the form of an id made here."""
    return len(text) == ULID_LENGTH and text[0] in "01234567" and set(text) <= set(_CROCKFORD)


class UlidSequence:
    """Ids that rise strictly, also within one millisecond and when the clock steps back."""

    def __init__(self) -> None:
        self._milliseconds = -1
        self._entropy = 0

    def next(self, milliseconds: int, entropy: int) -> str:
        """Make the next id from 80 fresh random bits; a time before 1970 counts as 1970."""
        milliseconds = max(milliseconds, 0)
        if milliseconds > self._milliseconds:
            self._milliseconds = milliseconds
            # The top bit stays free, so that counting up from here cannot overflow.
            self._entropy = entropy & ((1 << (_ENTROPY_BITS - 1)) - 1)
        else:
            self._entropy += 1
        return ulid(self._milliseconds, self._entropy)
