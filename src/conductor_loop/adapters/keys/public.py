"""Public keys by name: those of a state dir with their chain of custody, or of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from conductor_loop.adapters.keys.formats import NoKey, read_public_keys
from conductor_loop.core.custody import Custody, chain_faults, decode_chain, thumbprint
from conductor_loop.core.faults import ConductorError, Fault, UsageError
from conductor_loop.core.jws import CUSTODY, signature_fault

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FOLDER, CHAIN = "keys", "custody.jsonl"


class KeysUnusable(ConductorError):
    """The signing keys cannot be used as they are; nothing was signed."""

    code = "keys_unusable"


class PublicKeys:
    """`core.jws.Verifier`."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._raw: dict[str, bytes] = {thumbprint(public): public for public in keys}
        self._loaded: dict[str, Ed25519PublicKey] = {}

    @property
    def by_kid(self) -> Mapping[str, bytes]:
        """The 32 bytes of each, oldest first."""
        return self._raw

    def knows(self, kid: str) -> bool:
        """Whether there is such a key."""
        return kid in self._raw

    def is_signed(self, kid: str, message: bytes, signature: bytes) -> bool:
        """Whether this very key signed the message; False when it is not known."""
        if kid not in self._raw:
            return False
        from cryptography.exceptions import InvalidSignature

        try:
            self._key(kid).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def add(self, public: bytes) -> None:
        """Know one more key."""
        self._raw[thumbprint(public)] = public

    def _key(self, kid: str) -> Ed25519PublicKey:
        if kid not in self._loaded:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

            self._loaded[kid] = Ed25519PublicKey.from_public_bytes(self._raw[kid])
        return self._loaded[kid]


def read_chain(state_dir: Path) -> tuple[Custody, ...]:
    """The chain of custody of a state dir; empty when it has none. Raises KeysUnusable."""
    path = state_dir / FOLDER / CHAIN
    try:
        return decode_chain(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError) as error:
        raise KeysUnusable(
            f"cannot read {path}: {error}",
            hint="run it as the daemon's user, give -state-dir, or --keys with exported keys",
        ) from error


def keys_of(chain: Sequence[Custody]) -> tuple[PublicKeys, Sequence[Fault]]:
    """The keys that a chain names, and what is wrong with it. Only whole chains are to be used."""
    keys = PublicKeys(())
    for record in chain:
        try:
            keys.add(record.public)
        except ValueError:
            continue  # `chain_faults` tells
    return keys, chain_faults(chain, keys)


def trust_successors(keys: PublicKeys, chain: Sequence[Custody]) -> None:
    """Also know each key that a known one vouches for, along a chain from anywhere.

    Whoever holds the first key of a chain needs no other: nobody else can sign a successor.
    """
    for record in chain:
        known = keys.knows(record.previous) and record.is_vouched_for
        if known and signature_fault(record.document(), CUSTODY, keys) is None:
            keys.add(record.public)


def read_keys_file(path: Path) -> PublicKeys:
    """Public keys from a JWK set or PEM file. Raises UsageError."""
    try:
        return PublicKeys(read_public_keys(path.read_bytes()))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}",
            hint="make one with: conductor-loop keys export --format jwks",
        ) from error
    except NoKey as error:
        raise UsageError(
            f"{path} cannot be used: {error}",
            hint="make one with: conductor-loop keys export --format jwks",
        ) from error
