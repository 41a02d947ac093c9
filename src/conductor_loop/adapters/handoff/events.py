"""What the kernel tells about a folder, as hints: any may be missing, late or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import sys
import termios
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from conductor_loop.core.naming import is_intent_name

if TYPE_CHECKING:
    from asyncinotify import Inotify

_HEADER = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, length of the name
_INT = struct.Struct("i")
_LIMITS = {
    errno.ENOSPC: "fs.inotify.max_user_watches is used up",
    errno.EMFILE: "fs.inotify.max_user_instances is used up, or open files are",
}


@dataclass(slots=True)
class Heard:
    """What events told since the last time."""

    names: dict[bytes, bool] = field(default_factory=dict)
    """Names of the intent pattern, the last mentioned last: whether that was a move into place."""
    is_incomplete: bool = False
    """Events were lost, so only a scan tells what is there."""
    folder_changed: bool = False
    """The folder itself was moved, deleted or unmounted."""


class Hints(Protocol):
    """Where a source hears of new files before it would find them."""

    def watch(self, path: str) -> None:
        """Listen to this folder from now on, and to no other. OSError says why it cannot be."""

    def collect(self) -> Heard:
        """Take what was told since the last call; never waits."""

    async def wait(self, seconds: float) -> None:
        """Return when there is something to collect, on `wake`, or after that time."""

    def wake(self) -> None:
        """End a `wait` that is going on."""

    def close(self) -> None:
        """Stop listening."""


class PollingHints:
    """No events at all, for systems without inotify: the scan finds everything."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def watch(self, path: str) -> None:
        """There is nothing to listen to."""
        raise OSError(errno.ENOSYS, "this system tells of none", path)

    def collect(self) -> Heard:
        """Nothing is ever told."""
        return Heard()

    async def wait(self, seconds: float) -> None:
        """Sleep."""
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def wake(self) -> None:
        """Sleep no longer."""
        self._woken.set()

    def close(self) -> None:
        """Nothing to stop."""


class InotifyHints:
    """inotify(7) through asyncinotify.

    The library makes the watch; the queue is read here, because each of its events costs 10 µs
    against 2 (a Path, two flag sets), and only name and mask are needed. Nothing is read between
    calls: the kernel keeps the queue, bounded, and says when it overflowed.
    """

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._woken: asyncio.Future[None] | None = None

    def watch(self, path: str) -> None:
        """Watch a folder, not through a symlink."""
        from asyncinotify import Inotify, Mask

        self.close()
        told = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.CREATE | Mask.MOVE_SELF | Mask.DELETE_SELF
        try:
            self._inotify = Inotify()
            self._inotify.add_watch(path, told | Mask.ONLYDIR | Mask.DONT_FOLLOW)
        except OSError as error:
            self.close()
            why = _LIMITS.get(error.errno or 0, error.strerror)
            raise OSError(error.errno, why, path) from error

    def collect(self) -> Heard:
        """Read the kernel's whole queue; the last mention of a name counts."""
        heard = Heard()
        if self._inotify is None:
            return heard
        waiting = fcntl.ioctl(self._inotify.fd, termios.FIONREAD, bytes(_INT.size))
        if size := _INT.unpack(waiting)[0]:
            _parse(os.read(self._inotify.fd, size), heard)
        return heard

    async def wait(self, seconds: float) -> None:
        """Wait for the queue to fill; level-triggered, so nothing is missed before the call."""
        loop = asyncio.get_running_loop()
        woken = self._woken = loop.create_future()
        timer = loop.call_later(seconds, _wake, woken)
        told_by = None if self._inotify is None else self._inotify.fd
        if told_by is not None:
            loop.add_reader(told_by, _wake, woken)
        try:
            await woken
        finally:
            self._woken = None
            if told_by is not None:
                loop.remove_reader(told_by)
            timer.cancel()

    def wake(self) -> None:
        """See `Hints`."""
        if self._woken is not None:
            _wake(self._woken)

    def close(self) -> None:
        """End the watch; what was not collected is gone."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None


def open_hints() -> Hints:
    """Pick the best listener that this system has."""
    return InotifyHints() if sys.platform == "linux" else PollingHints()


# linux/inotify.h
_MOVED_TO, _DELETE_SELF, _MOVE_SELF = 0x80, 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_FOLDER_CHANGED = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED


def _parse(data: bytes, heard: Heard) -> None:
    offset = 0
    while offset < len(data):
        _, mask, _, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        name = data[offset : offset + length].rstrip(b"\0")
        offset += length
        if is_intent_name(name):
            heard.names.pop(name, None)
            heard.names[name] = bool(mask & _MOVED_TO)
        elif mask & _OVERFLOW:
            heard.is_incomplete = True
        elif mask & _FOLDER_CHANGED:
            heard.folder_changed = True


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
