"""One daemon per handoff folder and per state dir, held by the kernel and gone with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from datetime import datetime
from types import TracebackType
from typing import Self

import msgspec

from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.core.faults import CannotStart

_LOCK_NAME = b"lock"
_LONGEST = 4_096


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock, as written into it; believed for messages only."""

    pid: int
    host: str
    since: datetime


class Lock:
    """The locks of one daemon; leaving the context lets go of them."""

    def __init__(self, layout: Layout, holder: Holder) -> None:
        self._layout, self._holder = layout, holder
        self._handles = contextlib.ExitStack()
        self._handoff = self._hold(layout.conductor, _busy_handoff(layout))
        if not layout.is_state_inside:
            self._hold(layout.state, _busy_state(layout))

    def renew(self) -> None:
        """Hold the lock file that is in place now, should `.conductor` have been made anew."""
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(_LOCK_NAME, dir_fd=self._layout.conductor, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(self._handoff)):
                return
        fresh = _locked(self._layout.conductor, self._holder, _busy_handoff(self._layout))
        os.dup2(fresh, self._handoff, inheritable=False)
        os.close(fresh)

    def release(self) -> None:
        """Let go; the files stay, empty of meaning."""
        self._handles.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _hold(self, folder: int, busy: str) -> int:
        try:
            handle = _locked(folder, self._holder, busy)
        except BaseException:
            self.release()
            raise
        self._handles.callback(os.close, handle)
        return handle


def hold_lock(layout: Layout, since: datetime) -> Lock:
    """Take the locks of handoff folder and state dir, or raise CannotStart naming who has them.

    A child forked afterwards without exec would share them: fork such children first.
    """
    return Lock(layout, Holder(os.getpid(), socket.gethostname(), since))


def _locked(folder: int, holder: Holder, busy: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with contextlib.ExitStack() as opened:
        try:
            handle = os.open(_LOCK_NAME, flags, 0o600, dir_fd=folder)
            opened.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _already_running(busy, _holder_in(os.pread(handle, _LONGEST, 0))) from None
        except OSError as error:
            raise _unusable(error) from error
        _sign(handle, holder)
        opened.pop_all()
    return handle


def _sign(handle: int, holder: Holder) -> None:
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
        os.ftruncate(handle, 0)
        os.pwrite(handle, msgspec.json.encode(holder), 0)


def _holder_in(data: bytes) -> Holder | None:
    try:
        return msgspec.json.decode(data, type=Holder)
    except msgspec.DecodeError:
        return None


def _unusable(error: OSError) -> CannotStart:
    return CannotStart(
        f"the lock file in .conductor cannot be held: {error.strerror}",
        hint="remove what stands in place of `lock`; its file system must know flock",
        code="lock_unusable",
    )


def _already_running(busy: str, other: Holder | None) -> CannotStart:
    who = f": pid {other.pid} on {other.host}, since {other.since.isoformat()}" if other else ""
    return CannotStart(
        busy + who,
        hint="one daemon serves one handoff folder with one state dir; stop that one first",
        code="already_running",
    )


def _busy_handoff(layout: Layout) -> str:
    return f"another daemon serves {layout.path}"


def _busy_state(layout: Layout) -> str:
    return f"another daemon uses the state dir {layout.state_path}"
