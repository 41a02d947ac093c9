"""JSON schemas: compiled once, their errors turned into faults with stable codes."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NoReturn

import jsonschema_rs
from jsonschema_rs import ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from conductor_loop.core.faults import CannotStart, Fault
from conductor_loop.core.quoting import escaped, pointer_to, quoted

Schema = Mapping[str, object]
Check = Callable[[object], Sequence[Fault]]

MOST_FAULTS = 100
"""Errors reported for one document; a hostile one could have as many as it has values."""

_CODES = {
    "additionalProperties": "schema_additional_property",
    "unevaluatedProperties": "schema_unevaluated_property",
}
_MISTYPED = "schema_type"
_TYPES = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a text in quotes",
}


def compile_schema(schema: Schema) -> Check:
    """Compile a schema into a check; formats are checked, too.

    `$schema` decides the draft, 2020-12 where it says nothing. Raises CannotStart for a schema that
    is none, or that refers to one elsewhere: nothing is fetched.
    """
    try:
        validator = jsonschema_rs.validator_for(
            dict(schema), validate_formats=True, retriever=_refuse_to_fetch, mask="the value"
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        message = getattr(error, "message", None) or str(error)
        raise CannotStart(
            f"the intent schema is not a valid JSON schema: {escaped(message)}",
            hint="compare it with the output of `conductor-loop schema`",
            code="schema_invalid",
        ) from error

    def check(document: object) -> Sequence[Fault]:
        if validator.is_valid(document):
            return ()
        errors = (fault for e in validator.iter_errors(document) for fault in _faults(e, schema))
        return _sorted(list(islice(errors, MOST_FAULTS)))

    return check


def code_of(keyword: str) -> str:
    """Name the fault of a document that breaks a keyword of the schema."""
    return _CODES.get(keyword) or "schema_" + re.sub("([A-Z])", r"_\1", keyword).lower()


def _sorted(faults: Sequence[Fault]) -> Sequence[Fault]:
    # What has the wrong type breaks other keywords as well; to say so helps nobody.
    mistyped = {fault.pointer for fault in faults if fault.code == _MISTYPED}
    telling = [f for f in faults if f.code == _MISTYPED or f.pointer not in mistyped]
    return sorted(telling, key=lambda fault: (fault.pointer, fault.code))


def load_schema(path: str) -> Schema:
    """Read the schema that `-schema` names; raises CannotStart."""
    try:
        with open(path, "rb") as file:
            schema = json.load(file)
    except OSError as error:
        raise CannotStart(
            f"the schema {escaped(path)} cannot be read: {error.strerror}",
            hint="check the path given with -schema, and who may read the file",
            code="schema_unreadable",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _not_a_schema(path, f"is not JSON: {escaped(str(error))}") from error
    if not isinstance(schema, dict):
        raise _not_a_schema(path, f"is {quoted(schema)}, not an object")
    return schema


def _not_a_schema(path: str, reason: str) -> CannotStart:
    return CannotStart(
        f"the schema {escaped(path)} {reason}",
        hint="write the built-in one with `conductor-loop schema > FILE` and change that",
        code="schema_invalid",
    )


def _refuse_to_fetch(_: str) -> NoReturn:
    raise ValueError("nothing is fetched; put it under $defs")


def _faults(error: ValidationError, schema: Schema) -> Iterator[Fault]:
    place = ""
    for token in error.instance_path:
        place = pointer_to(place, token)
    code = code_of(error.kind.name)
    match error.kind:
        case Kind.Required(property=name):
            message = f"the field {quoted(name)} is missing"
            meaning = _description(schema, [*error.schema_path[:-1], "properties", name])
            hint = f"add it. {meaning}" if meaning else "add it"
            yield Fault(code, message, hint, pointer_to(place, name))
        case (
            Kind.AdditionalProperties(unexpected=names)
            | Kind.UnevaluatedProperties(unexpected=names)
        ):
            known = _known_fields(schema, error.schema_path[:-1])
            for name in names:
                message = f"the field {quoted(name)} is not known"
                yield Fault(code, message, _closest(name, known), pointer_to(place, name))
        case _:
            message, hint = _wording(error)
            hint = hint or _description(schema, error.schema_path[:-1]) or _demand(error)
            yield Fault(code, message, hint, place)


def _wording(error: ValidationError) -> tuple[str, str]:
    """Say what was found and what is asked for; an empty hint leaves it to the description."""
    found = quoted(error.instance)
    match error.kind:
        case Kind.Type(types=types):
            wanted = " or ".join(_TYPES.get(name, name) for name in types)
            return f"found {found}, where {wanted} is asked for", _unquoted(error.instance, types)
        case Kind.Enum(options=options):
            known = [option for option in options if isinstance(option, str)]
            allowed = ", ".join(map(quoted, options))
            guess = _guess(error.instance, known)
            return f"found {found}, which is none of {allowed}", guess
        case Kind.Pattern():
            return f"found {found}, which does not have the form asked for", ""
        case Kind.Format(format=name):
            return f"found {found}, which is not a valid {name}", ""
        case Kind.Minimum(limit=limit):
            return f"found {found}, which is below {limit}", ""
        case Kind.Maximum(limit=limit):
            return f"found {found}, which is above {limit}", ""
        case Kind.MinLength(limit=limit):
            return f"found {found}, which is shorter than {limit:,} characters", ""
        case Kind.MaxLength(limit=limit):
            length = len(str(error.instance))
            return f"found {length:,} characters, which is above {limit:,}", ""
    return escaped(error.message), ""


def _demand(error: ValidationError) -> str:
    """Quote the pattern where the schema has no words for it."""
    match error.kind:
        case Kind.Pattern(pattern=pattern):
            return f"it must match {escaped(pattern)}"
    return ""


def _unquoted(found: object, types: Sequence[str]) -> str:
    is_number = isinstance(found, str) and re.fullmatch("-?[0-9]{1,15}", found)
    return f"write it without quotes: {found}" if is_number and "integer" in types else ""


def _guess(found: object, known: Sequence[str]) -> str:
    if not isinstance(found, str) or len(found) > 64:
        return ""
    close = difflib.get_close_matches(found.lower(), known, n=1)
    return f"did you mean {quoted(close[0])}?" if close else ""


def _closest(name: str, known: Sequence[str]) -> str:
    allowed = ", ".join(map(escaped, known))
    return _guess(name, known) or (f"remove it; the fields are {allowed}" if known else "remove it")


def _at(schema: Schema, path: Sequence[str | int]) -> object:
    node: object = schema
    for token in path:
        members = dict(enumerate(node)) if isinstance(node, list) else node
        if not isinstance(members, Mapping):
            return None
        node = members.get(token)
    return node


def _description(schema: Schema, path: Sequence[str | int]) -> str:
    node = _at(schema, path)
    text = node.get("description") if isinstance(node, Mapping) else None
    return escaped(text, 300) if isinstance(text, str) else ""


def _known_fields(schema: Schema, path: Sequence[str | int]) -> list[str]:
    node = _at(schema, [*path, "properties"])
    return [str(name) for name in node] if isinstance(node, Mapping) else []
