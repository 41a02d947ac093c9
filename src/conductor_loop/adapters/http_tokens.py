"""The file of tokens that HTTP asks for: one a line, so that old and new overlap for a while."""

from __future__ import annotations

import hashlib
import os
import stat

from conductor_loop.core.faults import CannotStart

_SHORTEST = 16
_LONGEST_FILE = 64 * 1024


def token_digests(path: str) -> list[bytes]:
    """The SHA-256 of each token in the file. Raises CannotStart."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
                raise unusable(path, "everybody may read it", "chmod o= it; 0440 for a Secret")
            tokens = file.read(_LONGEST_FILE).split()
    except OSError as error:
        raise unusable(path, str(error.strerror), "check its path and its owner") from error
    if not tokens or any(len(token) < _SHORTEST for token in tokens):
        hint = "make one: openssl rand -hex 32"
        raise unusable(path, f"a token has at least {_SHORTEST} characters", hint)
    return [hashlib.sha256(token).digest() for token in tokens]


def unusable(path: str, why: str, hint: str) -> CannotStart:
    """The error for a secret of HTTP's that cannot be used."""
    return CannotStart(f"{path} cannot be used: {why}", hint=hint, code="http_secret_unusable")
