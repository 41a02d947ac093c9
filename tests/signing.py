"""A signer with a key that everybody knows."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conductor_loop.adapters.keys.public import PublicKeys
from conductor_loop.core.custody import thumbprint


class SignerOf:
    """`ports.Signer` with a key made from a number."""

    def __init__(self, number: int) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
        self.public = self._key.public_key().public_bytes_raw()

    @property
    def kid(self) -> str:
        """See `ports.Signer`."""
        return thumbprint(self.public)

    def sign(self, message: bytes) -> bytes:
        """See `ports.Signer`."""
        return self._key.sign(message)


SIGNER, STRANGER = SignerOf(1), SignerOf(2)
KNOWN = PublicKeys([SIGNER.public])
"""Knows the signer, not the stranger."""
