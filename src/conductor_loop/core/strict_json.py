"""JSON from strangers: exactly one reading, or a fault.

Refused is whatever two parsers could read differently, whatever costs more than its bytes, and
whatever a reader of a log could not see. A plain document that is fine is parsed once, in C; any
other a second time, slowly, to find what is wrong and where.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from conductor_loop.core.faults import Fault
from conductor_loop.core.hidden import find_hidden
from conductor_loop.core.quoting import escaped, pointer_to, quoted

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How much structure a document may have, counted before it is parsed, strings included.

    Ten MiB of `[{},` would take some 300 MiB as Python objects, and nesting uses the C stack.
    """

    openings: int = 256
    """`{` and `[` together, so nesting too."""
    commas: int = 20_000


INTENT_LIMITS = JsonLimits()

# Doubles, and so most JSON parsers, hold every integer below this one exactly (RFC 8259, 6).
_TOO_GREAT = 2**53
_MOST_DIGITS = 20
_LONGEST_FRACTION = 40

# First the longer mark: UTF-32 in little-endian begins with the bytes of UTF-16's.
_OTHER_ENCODINGS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_UTF_8_MARK = b"\xef\xbb\xbf"


def parse_strict(body: bytes, limits: JsonLimits = INTENT_LIMITS) -> JsonValue | Fault:
    """Parse one JSON document; the fault has a code of its own for each way to be wrong."""
    fault = _too_much(body, limits) or _other_encoding(body)
    if fault is not None:
        return fault
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return _not_utf8(body, error)
    try:
        value: JsonValue = _strict.decode(text)
    except (_RefusedError, json.JSONDecodeError):
        return _explained(text) or _REFUSED
    # Printable ASCII without an escape can hide nothing; anything else is looked at closely.
    if text.isascii() and "\\" not in text and "\x7f" not in text:
        return value
    return _explained(text) or value


class _RefusedError(Exception):
    """Well-formed JSON that is refused; where and why is found out by the second parse."""


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    # Go matches keys without regard to case, so "Target" would shadow "target" there.
    if len({key.casefold() for key in members}) != len(pairs):
        raise _RefusedError
    return members


def _integer(literal: str) -> int:
    if len(literal) <= _MOST_DIGITS and -_TOO_GREAT < (number := int(literal)) < _TOO_GREAT:
        return number
    raise _RefusedError


def _fraction(literal: str) -> float:
    if len(literal) <= _LONGEST_FRACTION and math.isfinite(number := float(literal)):
        return number
    raise _RefusedError


def _constant(literal: str) -> NoReturn:
    raise _RefusedError(literal)


_strict = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)


class _Members(tuple[tuple[str, object], ...]):
    __slots__ = ()


class _Integer(str):
    __slots__ = ()


class _Fraction(str):
    __slots__ = ()


class _Constant(str):
    __slots__ = ()


_lenient = json.JSONDecoder(
    object_pairs_hook=_Members, parse_int=_Integer, parse_float=_Fraction, parse_constant=_Constant
)


_SYNTAX_HINT = "check quotes, commas and braces just before that place; `jq . FILE` finds it, too"
_CUT_HINT = "write the file under another name and rename it to intent-*.json once it is whole"
_BREAK_HINT = "a closing quote is missing, or a line break inside a text is not written as \\n"
_UTF_8_HINT = "save the file as UTF-8 without a byte order mark"
_ONE_HINT = "hand over one intent a file"
_NUMBER_HINT = "stay below 2^53 (9007199254740992), or write it as a text"
_REFUSED = Fault("json_refused", "the document is refused", "write it with a JSON library")


def _too_much(body: bytes, limits: JsonLimits) -> Fault | None:
    openings = body.count(b"{") + body.count(b"[")
    if openings > limits.openings:
        return Fault(
            "json_too_deep",
            f"the document has {openings:,} opening braces and brackets, "
            f"at most {limits.openings:,} are allowed",
            "keep nesting and metadata small; those inside texts count, too",
        )
    commas = body.count(b",")
    if commas > limits.commas:
        return Fault(
            "json_too_many_values",
            f"the document has {commas:,} commas, at most {limits.commas:,} are allowed",
            "hand over one intent a file, with less metadata",
        )
    return None


def _other_encoding(body: bytes) -> Fault | None:
    if not body or body.isspace():
        return Fault("json_empty", "the file is empty", _CUT_HINT)
    if body.startswith(_UTF_8_MARK):
        return Fault("json_bom", "the file begins with a byte order mark", _UTF_8_HINT)
    for mark, encoding in _OTHER_ENCODINGS:
        if body.startswith(mark):
            return Fault("json_utf16", f"the file is {encoding}, not UTF-8", _UTF_8_HINT)
    if 0 not in body:
        return None
    if 0 in body[:2]:
        return Fault("json_utf16", "the file is UTF-16 or UTF-32, not UTF-8", _UTF_8_HINT)
    where = body.index(0)
    return Fault("json_nul", f"byte {where} ({_line_of(body, where)}) is NUL", _UTF_8_HINT)


def _not_utf8(body: bytes, error: UnicodeDecodeError) -> Fault:
    where = error.start
    return Fault(
        "json_not_utf8",
        f"byte {where} ({_line_of(body, where)}) is 0x{body[where]:02x}, which is no UTF-8 there",
        _UTF_8_HINT,
    )


def _line_of(body: bytes, offset: int) -> str:
    return f"line {body.count(10, 0, offset) + 1}"


def _explained(text: str) -> Fault | None:
    try:
        document: object = _lenient.decode(text)
    except json.JSONDecodeError as error:
        return _syntax_fault(text, error)
    return _first_fault(document)


def _syntax_fault(text: str, error: json.JSONDecodeError) -> Fault:
    where = f"line {error.lineno}, column {error.colno}"
    if error.msg.startswith("Invalid control character"):
        found = quoted(text[error.pos])
        return Fault("json_control_character", f"{where}: {found} inside a text", _BREAK_HINT)
    if error.msg.startswith("Extra data"):
        return Fault("json_extra_data", f"{where}: text after the end of the document", _ONE_HINT)
    if error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip()):
        return Fault("json_cut_short", f"{where}: the document ends too early", _CUT_HINT)
    reason = error.msg[:1].lower() + error.msg[1:]
    return Fault("json_syntax", f"{where}: {reason}", _SYNTAX_HINT)


def _first_fault(document: object) -> Fault | None:
    """Walk in document order; not by recursion, as 256 levels come near Python's own limit."""
    levels = [iter([("", document)])]
    while levels:
        for pointer, node in levels[-1]:
            fault = _own_fault(node, pointer)
            if fault is not None:
                return fault
            levels.append(_children(node, pointer))
            break
        else:
            levels.pop()
    return None


def _children(node: object, pointer: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, _Members):
        return ((pointer_to(pointer, key), value) for key, value in node)
    if isinstance(node, list):
        return ((pointer_to(pointer, index), item) for index, item in enumerate(node))
    return iter(())


def _own_fault(node: object, pointer: str) -> Fault | None:
    match node:
        case _Integer() | _Fraction() | _Constant():
            return _number_fault(node, pointer)
        case str():
            return _hidden_fault(node, pointer, "the text")
        case _Members():
            return _key_fault(node, pointer)
    return None


def _key_fault(members: _Members, pointer: str) -> Fault | None:
    seen: dict[str, str] = {}
    for key, _ in members:
        hidden = _hidden_fault(key, pointer, "a field name")
        if hidden is not None:
            return hidden
        folded = key.casefold()
        if folded in seen:
            return _clash(seen[folded], key, pointer_to(pointer, key))
        seen[folded] = key
    return None


def _clash(first: str, second: str, pointer: str) -> Fault:
    if first == second:
        message = f"the field {quoted(second)} stands twice in one object"
        return Fault("json_duplicate_key", message, "keep one of the two", pointer)
    return Fault(
        "json_case_clash",
        f"the fields {quoted(first)} and {quoted(second)} differ only in case",
        "keep one of the two: programs in Go take both for the same field",
        pointer,
    )


def _number_fault(literal: _Integer | _Fraction | _Constant, pointer: str) -> Fault | None:
    found = quoted(str(literal))[1:-1]
    if isinstance(literal, _Constant):
        return Fault("json_not_a_number", f"{found} is no JSON", "write a number, or null", pointer)
    read, longest = (
        (_integer, _MOST_DIGITS)
        if isinstance(literal, _Integer)
        else (_fraction, _LONGEST_FRACTION)
    )
    try:
        read(literal)
    except _RefusedError:
        pass
    else:
        return None
    if len(literal) > longest:
        message = f"the number {found} has {len(literal):,} characters, at most {longest} are read"
        return Fault("json_number_too_long", message, "round it, or write it as a text", pointer)
    message = f"the number {found} is beyond what every JSON parser holds exactly"
    return Fault("json_number_too_great", message, _NUMBER_HINT, pointer)


def _hidden_fault(text: str, pointer: str, where: str) -> Fault | None:
    found = find_hidden(text)
    if found is None:
        return None
    index, code, what = found
    return Fault(
        code,
        f"{where} {quoted(text)} has {what}, {escaped(text[index])}, at character {index + 1}",
        "remove it: a reader could not see it, or would be misled by it",
        pointer,
    )
