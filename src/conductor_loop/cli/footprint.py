"""Keeps a second OpenSSL out of the daemon's memory; `cryptography` brings the one it signs with.

The system's would lie there for as long as the daemon lives, for TLS that it never speaks (it
listens on a Unix socket alone) and for digests of a few hundred bytes. Without it the resident
memory is 5 MB smaller.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

_FIPS = "/proc/sys/crypto/fips_enabled"

# The digests of Python's own that `hashlib` must find; since 3.12 `_sha2` is two of them in one.
_DIGESTS = (
    ("_md5", "_sha1", "_sha2", "_sha3")
    if sys.version_info >= (3, 12)
    else ("_md5", "_sha1", "_sha256", "_sha512", "_sha3")
)


def do_without_openssl(fips: str = _FIPS) -> None:
    """Have `asyncio` and `hashlib` do without it, as both are made to where there is none.

    What was imported already keeps it. Some distributions build Python without digests of its own,
    and where the kernel keeps to FIPS 140 (`fips`, its sysctl, is not 0), the system's library is
    the one that may hash.
    """
    if "asyncio" not in sys.modules:
        _hide("ssl")
    if "hashlib" not in sys.modules and all(map(find_spec, _DIGESTS)) and not _demands(fips):
        _hide("_hashlib")


def _hide(name: str) -> None:
    sys.modules[name] = None  # type: ignore[assignment]  # how an import is made to fail


def _demands(fips: str) -> bool:
    try:
        with open(fips) as file:
            return file.read().strip() != "0"
    except FileNotFoundError:  # a kernel without it, or another system
        return False
