"""Writes YAML: block mappings and lists of strings, whole numbers and booleans, nothing else.

Our own, because `1e3`, `true`, `null`, `0x10` and `on` are valid RFC 1123 names which YAML 1.1 or
1.2 reads as something other than a string. A library quotes by the rules of one of them, and its
next release may write other bytes. Here a string that came from outside is always double quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, TypeGuard

Node: TypeAlias = "str | int | bool | Sequence[Node] | Mapping[str, Node]"

_NEEDS_ESCAPE = re.compile(r"[^ !#-\[\]-~]")
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
# What YAML 1.1 (yaml.org/type) makes of words; every one of them is a string only in quotes.
_NO_STRINGS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_STEP = "  "


class Word(str):
    """A constant of ours that every YAML version reads as a string, written without quotes."""

    __slots__ = ()


def emit(document: Mapping[str, Node]) -> bytes:
    """Write one document: ASCII, LF, a newline at the end; the same bytes for the same value."""
    return "".join(f"{line}\n" for line in _block(document, "")).encode("ascii")


def quoted(text: str) -> str:
    """Write a string in double quotes, which YAML 1.1 and 1.2 read alike.

    Everything but printable ASCII is escaped; a lone surrogate, which no UTF-8 can carry, becomes
    U+FFFD.
    """
    return f'"{_NEEDS_ESCAPE.sub(_escaped, text)}"'


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    point = ord(character)
    if 0xD800 <= point <= 0xDFFF:
        point = 0xFFFD
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _block(node: Mapping[str, Node] | Sequence[Node], indent: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _entry(f"{indent}{_key(key)}:", value, indent + _STEP)
        return
    for item in node:
        if _is_block(item):
            first, *rest = _block(item, indent + _STEP)
            yield f"{indent}- {first[len(indent) + len(_STEP) :]}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(item)}"


def _entry(opening: str, value: Node, indent: str) -> Iterator[str]:
    if _is_block(value):
        yield opening
        yield from _block(value, indent)
    else:
        yield f"{opening} {_scalar(value)}"


def _is_block(node: Node) -> TypeGuard[Mapping[str, Node] | Sequence[Node]]:
    return not isinstance(node, str | int) and len(node) > 0


def _key(key: str) -> str:
    is_plain = _PLAIN_KEY.fullmatch(key) and key.lower() not in _NO_STRINGS
    return key if is_plain else quoted(key)


def _scalar(node: Node) -> str:
    if isinstance(node, Word):
        return node
    if isinstance(node, str):
        return quoted(node)
    if isinstance(node, bool):
        return "true" if node else "false"
    if isinstance(node, int):
        return str(node)
    return "{}" if isinstance(node, Mapping) else "[]"
