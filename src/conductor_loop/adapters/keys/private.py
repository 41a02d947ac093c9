"""Private keys as they lie on a disk: never read where others could have read or changed them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conductor_loop.adapters.keys.formats import NoKey, read_private_pem
from conductor_loop.adapters.keys.public import KeysUnusable
from conductor_loop.core.custody import thumbprint

SIGNING = b"signing.pem"
"""The file of the key that signs."""
# A Secret mounted with fsGroup is root's and group-readable (0440); nothing more is tolerated.
OTHERS, _OTHERS_OF_MOUNT = 0o077, 0o037
_LONGEST_FILE = 64 << 10


@dataclass(frozen=True, slots=True)
class Private:
    """A private key and its name."""

    key: Ed25519PrivateKey
    seed: bytes

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self.key.public_key().public_bytes_raw()

    @property
    def kid(self) -> str:
        """Its thumbprint."""
        return thumbprint(self.public)


def new_private() -> Private:
    """Make one."""
    key = Ed25519PrivateKey.generate()
    return Private(key, key.private_bytes_raw())


def own_key(folder: int, path: Path) -> Private | None:
    """The key in the open folder of a state dir, `path` for messages; None when there is none.

    Raises OSError and KeysUnusable: one that others may read, or that is no key.
    """
    try:
        data = read_own(SIGNING, folder, path)
    except FileNotFoundError:
        return None
    return parsed(data, path / os.fsdecode(SIGNING))


def read_own(name: bytes, folder: int, path: Path) -> bytes:
    """What a file of keys of the open folder holds. Raises OSError, and KeysUnusable as above."""
    return _read(name, folder, path / os.fsdecode(name), OTHERS, os.O_NOFOLLOW)


def given_key(given: Path) -> Private:
    """The key that -key-file names. Raises KeysUnusable."""
    # Followed, because what Kubernetes mounts is a link into the newest version of the Secret.
    try:
        return parsed(_read(os.fsencode(given), None, given, _OTHERS_OF_MOUNT, 0), given)
    except OSError as error:
        raise KeysUnusable(
            f"cannot read the key {given}: {error.strerror}",
            hint="give -key-file an Ed25519 key: openssl genpkey -algorithm ed25519 -out FILE",
            code="key_unreadable",
        ) from error


def _read(name: bytes, folder: int | None, shown: Path, others: int, flags: int) -> bytes:
    handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | flags, dir_fd=folder)
    with open(handle, "rb", buffering=0) as file:
        _refuse_shared(os.fstat(handle), shown, others)
        return file.read(_LONGEST_FILE)


def _refuse_shared(status: os.stat_result, shown: Path, others: int) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise KeysUnusable(f"{shown} is no regular file", hint="put the key there itself")
    if mode & others:
        raise KeysUnusable(
            f"others may read or change the signing key {shown}: its mode is {mode:04o}",
            hint=f"whoever could read it can sign: make a new one, or: chmod 600 {shown}"
            " (a Kubernetes Secret: defaultMode: 0400)",
            code="key_not_private",
        )


def parsed(data: bytes, shown: Path) -> Private:
    """Read a PKCS #8 PEM; `shown` is for messages. Raises KeysUnusable."""
    try:
        seed = read_private_pem(data)
    except NoKey as error:
        raise KeysUnusable(
            f"{shown} cannot sign: {error}",
            hint="make one with: openssl genpkey -algorithm ed25519 -out FILE",
            code="key_unreadable",
        ) from error
    return Private(Ed25519PrivateKey.from_private_bytes(seed), seed)
