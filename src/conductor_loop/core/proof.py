"""Reading a signed verdict back: what of it is proved, and what is wrong with the rest."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from conductor_loop.core.canonical import off_profile
from conductor_loop.core.faults import Fault
from conductor_loop.core.jws import (
    COMPLIANCE,
    FIELD,
    FORENSICS,
    STATUS,
    Verifier,
    kid_of,
    signature_fault,
)
from conductor_loop.core.quoting import quoted

_KINDS = {"compliance-report": COMPLIANCE, "forensics-manifest": FORENSICS}


@dataclass(frozen=True, slots=True)
class Proof:
    """A verdict that was looked at. Without faults, somebody who holds the key `kid` signed it."""

    kid: str = ""
    """The key that it names, known or not."""
    document: Mapping[str, object] | None = None
    """None when it cannot be read."""
    faults: tuple[Fault, ...] = ()

    def text(self, name: str) -> str:
        """A field, if it is a text; else nothing."""
        value = (self.document or {}).get(name)
        return value if isinstance(value, str) else ""

    @property
    def intent_name(self) -> bytes:
        """The name of the file that it is about. Empty when it does not say."""
        encoded = self.text("intent_file_b64")
        try:
            return base64.b64decode(encoded) if encoded else self.text("intent_file").encode()
        except binascii.Error:
            return b""


def prove(data: bytes, keys: Verifier) -> Proof:
    """Check the bytes of a status file against public keys."""
    document = _parsed(data)
    if isinstance(document, Fault):
        return Proof(faults=(document,))
    kid = kid_of(document.get(FIELD))
    # Off the profile, two programs could take different bytes for what was signed.
    fault = off_profile(document) or signature_fault(document, about_of(document), keys)
    return Proof(kid, document, () if fault is None else (fault,))


def about_of(document: Mapping[str, object]) -> str:
    """The `typ` that a document has to be signed with; what says no kind is a verdict."""
    kind = document.get("kind")
    return _KINDS.get(kind, STATUS) if isinstance(kind, str) else STATUS


class _Refused(ValueError):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def _parsed(data: bytes) -> dict[str, object] | Fault:
    try:
        document: object = _decoder.decode(data.decode())
    except _Refused as refused:
        return refused.fault
    except UnicodeDecodeError as error:
        return Fault("json_not_utf8", f"byte {error.start} is no UTF-8")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return Fault("json_syntax", f"{where}: {error.msg[:1].lower()}{error.msg[1:]}")
    except (ValueError, RecursionError):  # thousands of digits or of brackets
        return Fault("json_refused", "no verdict is written like that")
    if not isinstance(document, dict):
        return Fault("json_no_object", "it is not a JSON object")
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for key, value in pairs:
        if key in members:
            # Programs differ in which of the two they take, so what was signed may be hidden.
            message = f"the field {quoted(key)} stands twice in one object"
            raise _Refused(Fault("json_duplicate_key", message))
        members[key] = value
    return members


def _constant(literal: str) -> NoReturn:
    raise _Refused(Fault("json_not_a_number", f"{literal} is no JSON"))


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
