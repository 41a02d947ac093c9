"""Detached JWS (RFC 7515, appendix F) over canonical JSON, and its one algorithm: EdDSA.

`<b64url header>..<b64url signature>`; signed is `header "." b64url(canonical document)`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

import msgspec

from conductor_loop.core.canonical import canonical
from conductor_loop.core.faults import Fault

ALGORITHM = "EdDSA"
STATUS, CUSTODY = "conductor-status+jws", "conductor-custody+jws"
AUDIT, COMPLIANCE = "conductor-audit+jws", "conductor-compliance+jws"
FORENSICS = "conductor-forensics+jws"
"""What `typ` says a signature is about, so that one cannot stand for another."""
FIELD = "signature"
SIGNATURE_BYTES = 64

_SHAPE = re.compile(r"([A-Za-z0-9_-]{1,4096})\.\.([A-Za-z0-9_-]{86})")

Sign = Callable[[bytes], bytes]
"""See `ports.Signer.sign`."""


class Verifier(Protocol):
    """Public keys, by name."""

    def knows(self, kid: str) -> bool:
        """Whether there is such a key."""

    def is_signed(self, kid: str, message: bytes, signature: bytes) -> bool:
        """Whether this very key signed the message; False when it is not known."""


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_b64url(text: str) -> bytes:
    """The inverse. Raises ValueError for anything that `b64url` would not write."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if b64url(data) != text:
        raise ValueError("not the one way to write it in base64url")
    return data


@lru_cache(maxsize=16)  # a daemon has one key, and few kinds of things to sign
def header_of(kid: str, about: str) -> str:
    """The protected header, encoded; `about` is one of the kinds above."""
    return b64url(canonical({"alg": ALGORITHM, "kid": kid, "typ": about}))


def signing_input(header: str, document: Mapping[str, object]) -> bytes:
    """The bytes that are signed. `document` is without its signature."""
    payload = base64.urlsafe_b64encode(canonical(document)).rstrip(b"=")
    return header.encode("ascii") + b"." + payload


def detached_jws(document: Mapping[str, object], about: str, kid: str, sign: Sign) -> str:
    """Sign a document of the profile of `core.canonical`."""
    header = header_of(kid, about)
    return f"{header}..{b64url(sign(signing_input(header, document)))}"


def kid_of(signature: object) -> str:
    """The name of the key that a signature claims; empty when it claims none."""
    match = _SHAPE.fullmatch(signature) if isinstance(signature, str) else None
    members = _members(match[1]) if match else None
    kid = (members or {}).get("kid", "")
    return kid if isinstance(kid, str) else ""


def signature_fault(document: Mapping[str, object], about: str, keys: Verifier) -> Fault | None:
    """Tell what is wrong with the signature of a document; None when it holds.

    That the document keeps the profile is for the caller to see to.
    """
    signature = document.get(FIELD)
    if signature is None:
        return Fault("unsigned", f"there is no {FIELD}", "whoever wrote it has proved nothing")
    match = _SHAPE.fullmatch(signature) if isinstance(signature, str) else None
    if match is None:
        shape = "BASE64URL..BASE64URL, the second part 86 characters long"
        return Fault("signature_malformed", "it is no detached JWS", f"expected is {shape}")
    header, encoded = match[1], match[2]
    fault = _header_fault(header, about)
    if fault is not None:
        return fault
    kid = kid_of(signature)
    if not keys.knows(kid):
        return Fault("unknown_kid", f"it is signed by {kid}, which is none of the known keys")
    unsigned = {name: value for name, value in document.items() if name != FIELD}
    return _bytes_fault(kid, signing_input(header, unsigned), encoded, keys)


def _bytes_fault(kid: str, message: bytes, encoded: str, keys: Verifier) -> Fault | None:
    try:
        signature = from_b64url(encoded)
    except ValueError as error:
        return Fault("signature_malformed", f"the signature is {error}")
    if keys.is_signed(kid, message, signature):
        return None
    return Fault(
        "signature_wrong",
        f"{kid} did not sign this: a field was altered, added or removed, or the signature was",
        "a signature cannot tell which; compare it with a copy, or with the journal",
    )


def _header_fault(header: str, about: str) -> Fault | None:
    members = _members(header)
    if members is None:
        return Fault("header_malformed", "the header is no JSON object in base64url")
    algorithm, kind, kid = (members.get(name) for name in ("alg", "typ", "kid"))
    if algorithm != ALGORITHM:
        return Fault("wrong_alg", f"alg is {algorithm!r}; only {ALGORITHM} is taken")
    if kind != about:
        return Fault("wrong_typ", f"typ is {kind!r}, not {about}")
    if not isinstance(kid, str):
        return Fault("header_malformed", "the header names no kid")
    extra = sorted(members.keys() - {"alg", "kid", "typ"})
    if extra:
        return Fault("header_members", f"the header has members that are not ours: {extra}")
    # Also two members of one name, white space, another order: there is one way to write it.
    if header != header_of(kid, about):
        return Fault("header_malformed", "the header is not written in the one way there is")
    return None


def _members(header: str) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(from_b64url(header), type=dict[str, object])
    except (ValueError, msgspec.DecodeError):
        return None
