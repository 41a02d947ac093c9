"""Canonical JSON (RFC 8785), for documents so plain that every implementation writes the same.

The profile: keys are ASCII, integers are below 2^53, no fraction, no control character, no U+007F.
Under it `jq -cS` and RFC 8785 write the same bytes, which a test holds this module to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from conductor_loop.core.faults import Fault
from conductor_loop.core.quoting import pointer_to, quoted

_encoder = msgspec.json.Encoder(order="sorted")
# What a double holds exactly, and so every JSON implementation (RFC 8785, 3.2.2.3).
_TOO_GREAT = 2**53
_UNFIT = re.compile("[\0-\x1f\x7f\ud800-\udfff]")


def canonical(document: Mapping[str, object]) -> bytes:
    """Write a document of the profile as RFC 8785 has it; for any other the bytes mean nothing."""
    return _encoder.encode(document)


def off_profile(document: object) -> Fault | None:
    """The first thing in a parsed document that implementations may write differently."""
    return next(_faults(document, ""), None)


def _faults(value: object, pointer: str) -> Iterator[Fault]:
    match value:
        case dict():
            for key, item in value.items():
                yield from _key_faults(key, pointer)
                yield from _faults(item, pointer_to(pointer, key))
        case list():
            for index, item in enumerate(value):
                yield from _faults(item, pointer_to(pointer, index))
        case str() if _has_unfit(value):
            yield Fault(
                "profile_character", f"{quoted(value)} has a control character", "", pointer
            )
        case float():
            yield Fault("profile_fraction", f"{value!r} is a fraction", "", pointer)
        case int() if not -_TOO_GREAT < value < _TOO_GREAT:
            yield Fault("profile_number", f"{quoted(value)} is beyond 2^53", "", pointer)


def _key_faults(key: str, pointer: str) -> Iterator[Fault]:
    if not key.isascii() or _has_unfit(key):
        yield Fault("profile_key", f"the field name {quoted(key)} is not plain ASCII", "", pointer)


def _has_unfit(text: str) -> bool:
    """Control characters, which writers escape in different ways, and halves of surrogates."""
    return not text.isprintable() and _UNFIT.search(text) is not None
