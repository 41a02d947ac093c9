"""The key of -key-file, taken when its file changes under the daemon, as a mounted Secret does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from conductor_loop.adapters.keys.private import Private
from conductor_loop.adapters.keys.public import KeysUnusable
from conductor_loop.adapters.keys.store import Keys
from conductor_loop.adapters.users import user_name
from conductor_loop.ports import Clock, Notices

_log = logging.getLogger("conductor_loop.keys")
_SECONDS = 2.0
"""Between two looks. The kubelet takes up to a minute to bring a new Secret."""


class KeyRenewal:
    """Has the daemon sign with what the key file has now, and puts that on record."""

    def __init__(self, keys: Keys, notices: Notices, clock: Clock) -> None:
        self._keys = keys
        self._notices = notices
        self._clock = clock

    def newly_given(self) -> Private | None:
        """See `Keys.newly_given`."""
        return self._keys.newly_given()

    def take(self, key: Private, by: str) -> None:
        """See `Keys.take`."""
        previous = self._keys.kid
        self._keys.take(key, self._clock.now(), by)
        self._notices.report("key_rotated", key.kid, by=by, previous=previous)

    async def watch(self, path: Path) -> None:
        """For ever: look whether the file is another one. One that cannot be used is told once."""
        seen: tuple[int, ...] | None = None
        while True:
            now = _identity(path)
            if now != seen:
                seen = now
                self._renew()
            await self._clock.sleep(_SECONDS)

    def _renew(self) -> None:
        try:
            key = self.newly_given()
            if key is not None:
                self.take(key, user_name(os.geteuid()))
        except KeysUnusable as error:
            _log.error("the signing key in use stays: %s; %s", error.message, error.hint)


@asynccontextmanager
async def renewing_key(renewal: KeyRenewal, path: Path | None) -> AsyncIterator[None]:
    """Watch the key file meanwhile, if there is one."""
    if path is None:
        yield
        return
    watching = asyncio.create_task(renewal.watch(path), name="key file")
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def _identity(path: Path) -> tuple[int, ...]:
    """Of what the name leads to now: links are followed, `..data` of a Secret among them."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
