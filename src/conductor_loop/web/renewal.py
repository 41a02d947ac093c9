"""Certificates and tokens, read anew when their files change, swapped links included."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import ssl
from collections.abc import Callable
from typing import Generic, TypeVar

from conductor_loop.adapters.http_tokens import token_digests
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.vitals import Serving

T = TypeVar("T")
_log = logging.getLogger("conductor_loop.http")

_Seen = tuple[tuple[int, ...], ...]


class Renewed(Generic[T]):
    """What is made of some files, and made again when one of them changes."""

    def __init__(self, make: Callable[[], T], *paths: str) -> None:
        """Make it for the first time. Raises what `make` raises."""
        self._make = make
        self._paths = paths
        self._seen = self._look()
        self._value = make()

    def get(self) -> T:
        """The newest one; of files that cannot be used now, the last that could."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._value = self._make()
            except (CannotStart, OSError, ValueError) as error:
                _log.error("the old one stays in use: %s", error)
        return self._value

    def _look(self) -> _Seen:
        return tuple(map(_identity, self._paths))


def _identity(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Tokens:
    """Those who know one of the tokens in a file get in."""

    def __init__(self, path: str) -> None:
        """Read them. Raises CannotStart."""
        self._digests = Renewed(lambda: token_digests(path), path)

    def accepts(self, token: bytes) -> bool:
        """Whether it is one of them; takes as long for every wrong one."""
        given = hashlib.sha256(token).digest()
        matches = [hmac.compare_digest(given, each) for each in self._digests.get()]
        return any(matches)


class RenewedContext(ssl.SSLContext):
    """A TLS context that stands for the newest one: each connection gets that."""

    _current: Renewed[ssl.SSLContext]

    def follow(self, current: Renewed[ssl.SSLContext]) -> None:
        """Stand for this one from now on."""
        self._current = current

    def wrap_bio(self, *args: object, **options: object) -> ssl.SSLObject:
        """See `ssl.SSLContext`; asyncio makes every connection by this."""
        return self._current.get().wrap_bio(*args, **options)  # type: ignore[arg-type]


def tls_context(serving: Serving) -> ssl.SSLContext:
    """TLS 1.3 only; with a client CA only for those who have a certificate. Raises CannotStart."""
    files = [path for path in (serving.certificate, serving.key, serving.client_ca) if path]
    context = RenewedContext(ssl.PROTOCOL_TLS_SERVER)
    context.follow(Renewed(lambda: _context(serving), *files))
    return context


def _context(serving: Serving) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(serving.certificate, serving.key)
        if serving.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(serving.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise CannotStart(
            f"the certificates of -http cannot be used: {error}",
            hint="check -http-cert, -http-key and -http-client-ca; does the key fit?",
            code="http_secret_unusable",
        ) from error
    return context
