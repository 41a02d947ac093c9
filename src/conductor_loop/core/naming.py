"""File names as bytes, which is what they are: matching, showing, and making room for suffixes."""

from __future__ import annotations

import hashlib
import re

# NAME_MAX of every common Linux file system (limits.h(0p)).
LONGEST_NAME = 255
_PREFIX, _SUFFIX = b"intent-", b".json"
_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def is_intent_name(name: bytes) -> bool:
    """Tell whether a file of this name is handed over: `intent-*.json`, case and all."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX) and len(name) >= 12


def shown(name: bytes) -> str:
    """Escape a name for people and JSON: printable text stays, the rest is `\\xNN` or `\\uNNNN`.

    Controls, bidirectional marks and bytes that are no UTF-8 can neither move a cursor nor
    reorder a line. No two names look the same: `\\x80` and above are bytes, `\\u0080` characters.
    """
    text = name.decode("utf-8", "surrogateescape")
    return (
        "".join(_shown_character(c) for c in text)
        if not text.isascii() or not (text.isprintable() and "\\" not in text)
        else text
    )


def _shown_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    point = ord(character)
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def from_shown(text: str) -> bytes | None:
    """Read a name back from what `shown` made of it; None for a text that it never makes."""
    try:
        read = _ESCAPE.sub(lambda found: _unescaped(found[1]), text)
        name = read.encode("utf-8", "surrogateescape")
    except ValueError:  # an escape of what is no character
        return None
    return name if shown(name) == text else None


def _unescaped(escape: str) -> str:
    if escape == "\\":
        return escape
    point = int(escape[1:], 16)
    # As `decode` marks a byte that is no UTF-8.
    return chr(0xDC00 + point if escape[0] == "x" and point >= 0x80 else point)


def meant(name: bytes) -> tuple[bytes, ...]:
    """The names that somebody may mean who wrote this one: itself, and the one that shows so."""
    read = from_shown(name.decode("utf-8", "surrogateescape"))
    return (name,) if read is None or read == name else (name, read)


def with_suffix(name: bytes, suffix: bytes) -> bytes:
    """Append a suffix; a name that leaves no room is cut and marked with its own hash."""
    return _fitted(name, suffix, name)


def verdict_name(name: bytes) -> bytes:
    """Name the verdict of a file: `NAME.status`."""
    return with_suffix(name, b".status")


def error_log_name(name: bytes) -> bytes:
    """Name the error log beside a failed file: `NAME.error.log`."""
    return with_suffix(name, b".error.log")


def collision_name(name: bytes, intent_id: str) -> bytes:
    """Name a file whose own name is taken: `STEM.ID.json`."""
    return _fitted(name.removesuffix(_SUFFIX), b"." + intent_id.encode() + _SUFFIX, name)


def _fitted(stem: bytes, suffix: bytes, name: bytes) -> bytes:
    if len(stem) + len(suffix) <= LONGEST_NAME:
        return stem + suffix
    mark = b"~" + hashlib.sha256(name).hexdigest()[:16].encode()
    return _cut(stem, LONGEST_NAME - len(suffix) - len(mark)) + mark + suffix


def _cut(name: bytes, length: int) -> bytes:
    """Cut to `length` bytes, or up to three fewer: some file systems refuse half a character."""
    for end in range(length, length - 4, -1):
        if name[end] & 0xC0 != 0x80:
            return name[:end]
    return name[:length]
