"""Foreign text made safe to show and to sign: nothing in it moves a cursor or reorders a line."""

from __future__ import annotations

_NAMED = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}


class _Escapes:
    """A translation table over all of Unicode: printable characters stay."""

    def __init__(self, kept: str) -> None:
        self._kept = frozenset(map(ord, kept))

    def __getitem__(self, point: int) -> int | str:
        if point in self._kept or chr(point).isprintable():
            return point
        return _NAMED.get(point) or _escaped(point)


_LINE, _BLOCK = _Escapes(""), _Escapes("\n\t")


def legible_line(text: str) -> str:
    """Escape everything unprintable, line breaks included: `\\n`, `\\x1b`, `\\u202e`.

    Backslashes stay single, so the result reads well but cannot be turned back.
    """
    return text if text.isprintable() else text.translate(_LINE)


def legible_block(text: str) -> str:
    """As `legible_line`, but line breaks and tabs stay."""
    return text if text.isprintable() else text.translate(_BLOCK)


def _escaped(point: int) -> str:
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
