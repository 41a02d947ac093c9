"""The chain of custody: each signing key, vouched for by the one before it where that was there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from conductor_loop.core.canonical import canonical
from conductor_loop.core.faults import Fault
from conductor_loop.core.jws import (
    CUSTODY,
    Sign,
    Verifier,
    b64url,
    detached_jws,
    from_b64url,
    kid_of,
    signature_fault,
)

PUBLIC_BYTES = 32
"""An Ed25519 public key (RFC 8032, 5.1.5)."""


class Custody(msgspec.Struct, frozen=True):
    """That a key took over: the record that the key before it signs, else the key itself."""

    seq: int
    """From 1, without a gap."""
    kid: str
    x: str
    """The public key, base64url, as in a JWK (RFC 8037)."""
    previous: str
    """The key before it; empty for the first."""
    since: str
    """RFC 3339, UTC."""
    by: str
    """Who started or asked."""
    reason: str
    """`first`, `rotated`, `given` (-key-file), or `replaced` (the one before was missing)."""
    signature: str = ""

    @property
    def voucher(self) -> str:
        """The key that signed this record."""
        return kid_of(self.signature)

    @property
    def is_vouched_for(self) -> bool:
        """Whether the key before it says so, which nobody can who has not got that key."""
        return bool(self.previous) and self.voucher == self.previous

    @property
    def public(self) -> bytes:
        """The public key. Raises ValueError when it is none."""
        return from_b64url(self.x)

    def unsigned(self) -> dict[str, object]:
        """What is signed."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "signature"}

    def document(self) -> dict[str, object]:
        """All of it."""
        return msgspec.structs.asdict(self)

    def signed(self, kid: str, sign: Sign) -> Custody:
        """The same with the signature of a key."""
        signature = detached_jws(self.unsigned(), CUSTODY, kid, sign)
        return msgspec.structs.replace(self, signature=signature)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two keys that may sign a record, out of all that a verifier has."""

    kids: tuple[str, str]
    keys: Verifier

    def knows(self, kid: str) -> bool:
        return kid in self.kids and self.keys.knows(kid)

    def is_signed(self, kid: str, message: bytes, signature: bytes) -> bool:
        return self.knows(kid) and self.keys.is_signed(kid, message, signature)


def thumbprint(public: bytes) -> str:
    """The name of an Ed25519 key: SHA-256 of its JWK (RFC 7638; RFC 8037, appendix A.3)."""
    jwk = canonical({"crv": "Ed25519", "kty": "OKP", "x": b64url(public)})
    return b64url(hashlib.sha256(jwk).digest())


def encode_chain(chain: Sequence[Custody]) -> bytes:
    """One record a line."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in chain)


def decode_chain(data: bytes) -> tuple[Custody, ...]:
    """Raises msgspec.DecodeError."""
    return tuple(msgspec.json.decode(line, type=Custody) for line in data.splitlines())


def chain_faults(chain: Sequence[Custody], keys: Verifier) -> Sequence[Fault]:
    """What is wrong with the chain, record by record; nothing when it holds.

    `keys` has the public key of each record. A chain whose end was cut off still holds.
    """
    return list(_chain_faults(chain, keys))


def _chain_faults(chain: Sequence[Custody], keys: Verifier) -> Iterator[Fault]:
    previous = ""
    for number, record in enumerate(chain, 1):
        if record.seq != number or record.previous != previous:
            yield _broken(number, "does not follow the one before it: records are missing or moved")
        elif not _is_named_right(record):
            yield _broken(number, f"has a public key that is not {record.kid}")
        else:
            pair = _Pair((record.kid, record.previous), keys)
            fault = signature_fault(record.document(), CUSTODY, pair)
            if fault is not None:
                yield _broken(number, f"is not to be believed: {fault.message}")
        previous = record.kid


def _is_named_right(record: Custody) -> bool:
    try:
        return len(record.public) == PUBLIC_BYTES and thumbprint(record.public) == record.kid
    except ValueError:
        return False


def _broken(number: int, what: str) -> Fault:
    return Fault(
        "custody_broken",
        f"record {number} of the chain of custody {what}",
        "somebody changed keys/custody.jsonl: take it from a backup",
    )
