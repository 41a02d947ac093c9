"""How Ed25519 keys are written: PEM (RFC 8410) and JWK sets (RFC 8037)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

import msgspec

from conductor_loop.core.custody import PUBLIC_BYTES, thumbprint
from conductor_loop.core.jws import ALGORITHM, b64url, from_b64url

# DER of everything that stands before the 32 bytes of the key (RFC 8410, sections 4, 7 and 10.3).
# Written out because cryptography's own reader would cost every daemon 1.3 MiB.
_PRIVATE_DER = bytes.fromhex("302e020100300506032b657004220420")
_PUBLIC_DER = bytes.fromhex("302a300506032b6570032100")
_KEY_BYTES = 32
_BLOCK = re.compile(
    rb"-----BEGIN (PRIVATE|PUBLIC) KEY-----\s([A-Za-z0-9+/=\s]{40,200})-----END \1 KEY-----"
)


class NoKey(ValueError):
    """A file holds no key of the kind that is needed; the message says why."""


class _Jwk(msgspec.Struct):
    kty: str = ""
    crv: str = ""
    x: str = ""
    kid: str = ""


class _JwkSet(msgspec.Struct):
    keys: list[_Jwk]


def private_pem(seed: bytes) -> bytes:
    """PKCS #8, as `openssl genpkey -algorithm ed25519` writes it."""
    return _pem("PRIVATE", _PRIVATE_DER + seed)


def public_pem(public: bytes) -> bytes:
    """SubjectPublicKeyInfo, as `openssl pkey -pubout` writes it."""
    return _pem("PUBLIC", _PUBLIC_DER + public)


def read_private_pem(data: bytes) -> bytes:
    """The seed of a PKCS #8 Ed25519 key. Raises NoKey."""
    blocks = list(_blocks(data, b"PRIVATE"))
    if len(blocks) != 1:
        what = "more than one private key" if blocks else "no unencrypted PKCS #8 private key"
        raise NoKey(f"it has {what} in PEM")
    if not blocks[0].startswith(_PRIVATE_DER) or len(blocks[0]) != len(_PRIVATE_DER) + _KEY_BYTES:
        raise NoKey("its private key is not Ed25519")
    return blocks[0][len(_PRIVATE_DER) :]


def read_public_keys(data: bytes) -> Sequence[bytes]:
    """Every public Ed25519 key of a JWK set or of PEM blocks. Raises NoKey."""
    if data.lstrip().startswith(b"{"):
        return [_public_of(jwk) for jwk in _jwks(data)]
    blocks = list(_blocks(data, b"PUBLIC"))
    if not blocks:
        raise NoKey("it is neither a JWK set nor public keys in PEM")
    for block in blocks:
        if not block.startswith(_PUBLIC_DER) or len(block) != len(_PUBLIC_DER) + PUBLIC_BYTES:
            raise NoKey("one of its public keys is not Ed25519")
    return [block[len(_PUBLIC_DER) :] for block in blocks]


def jwk(public: bytes) -> dict[str, str]:
    """One public key as a member of a JWK set."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": b64url(public),
        "kid": thumbprint(public),
        "use": "sig",
        "alg": ALGORITHM,
    }


def _jwks(data: bytes) -> Sequence[_Jwk]:
    try:
        found = msgspec.json.decode(data, type=_JwkSet).keys
    except msgspec.DecodeError as error:
        raise NoKey(f"it is no JWK set: {error}") from error
    # Keys of other kinds are passed over (RFC 7517, section 5).
    keys = [jwk for jwk in found if (jwk.kty, jwk.crv) == ("OKP", "Ed25519")]
    if not keys:
        raise NoKey("the JWK set has no Ed25519 key")
    return keys


def _public_of(jwk: _Jwk) -> bytes:
    try:
        public = from_b64url(jwk.x)
    except ValueError as error:
        raise NoKey(f"the public key of {jwk.kid or 'one of its keys'} is {error}") from error
    if len(public) != PUBLIC_BYTES:
        raise NoKey(f"a public key has {len(public)} bytes, not {PUBLIC_BYTES}")
    if jwk.kid and jwk.kid != thumbprint(public):
        raise NoKey(f"{jwk.kid} is not the RFC 7638 thumbprint of its key")
    return public


def _blocks(data: bytes, kind: bytes) -> Iterator[bytes]:
    for found in _BLOCK.finditer(data):
        if found[1] == kind:
            try:
                yield base64.b64decode(b"".join(found[2].split()), validate=True)
            except binascii.Error as error:
                raise NoKey("a PEM block of it is damaged") from error


def _pem(kind: str, der: bytes) -> bytes:
    text = base64.b64encode(der).decode("ascii")
    return f"-----BEGIN {kind} KEY-----\n{text}\n-----END {kind} KEY-----\n".encode()
