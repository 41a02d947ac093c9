"""What must hold of reading any bytes as an intent, told a second way: slowly and plainly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import NoReturn

from conductor_loop.adapters.schema import compile_schema
from conductor_loop.contracts import schema_of
from conductor_loop.core.faults import Fault
from conductor_loop.core.hidden import find_hidden
from conductor_loop.core.intent import Intent
from conductor_loop.core.reading import IntakeRules, read_intent, reread_intent
from conductor_loop.core.strict_json import INTENT_LIMITS, JsonValue, parse_strict

RULES = IntakeRules(compile_schema(schema_of("intent")))


class Refused(ValueError):
    """Not JSON, or against a rule of ours."""


def hold(body: bytes) -> None:
    """Read some bytes in every way; an AssertionError, or any other, is a bug."""
    value = parse_strict(body)
    expected = read_plainly(body)
    assert isinstance(value, Fault) == isinstance(expected, Refused), f"{value!r}: {expected!r}"
    if isinstance(value, Fault):
        assert_shown_safely(value)
    else:
        assert value == expected
    intent = read_intent(body, RULES)
    if isinstance(intent, Intent):
        assert not isinstance(value, Fault)
        assert reread_intent(body) == intent
        return
    assert intent.faults
    for fault in intent.faults:
        assert_shown_safely(fault)


def assert_shown_safely(fault: Fault) -> None:
    """Nothing that a fault says can move a cursor, reorder a line, or fill a disk."""
    assert fault.code != "json_refused"
    assert (fault.message + fault.hint + fault.code).isprintable()
    assert len(fault.message) < 2_000
    assert find_hidden(fault.pointer) is None


def read_plainly(body: bytes) -> JsonValue | Refused:
    """Read as the standard library does, and check our rules one by one."""
    try:
        return _read(body)
    except (ValueError, RecursionError) as error:
        return error if isinstance(error, Refused) else Refused(str(error))


def _read(body: bytes) -> JsonValue:
    if body.count(b"{") + body.count(b"[") > INTENT_LIMITS.openings:
        raise Refused("too many openings")
    if body.count(b",") > INTENT_LIMITS.commas:
        raise Refused("too many commas")
    text = body.decode("utf-8", "strict")
    if "\0" in text or text.startswith("\ufeff"):
        raise Refused("NUL or a byte order mark")
    value: JsonValue = json.loads(
        text,
        object_pairs_hook=_members,
        parse_int=_integer,
        parse_float=_fraction,
        parse_constant=_constant,
    )
    for one in _texts(value):
        if find_hidden(one) is not None:
            raise Refused("a hidden character")
    return value


def _members(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    folded = [key.casefold() for key, _ in pairs]
    if any(key in folded[:index] for index, key in enumerate(folded)):
        raise Refused("a duplicate key")
    return dict(pairs)


def _integer(literal: str) -> int:
    if len(literal) > 20 or abs(int(literal)) >= 2**53:
        raise Refused("a number too great")
    return int(literal)


def _fraction(literal: str) -> float:
    if len(literal) > 40 or math.isinf(float(literal)):
        raise Refused("a number too great")
    return float(literal)


def _constant(literal: str) -> NoReturn:
    raise Refused(literal)


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
