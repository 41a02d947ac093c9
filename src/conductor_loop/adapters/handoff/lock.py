"""One daemon per handoff folder and per state dir, held by the kernel and gone with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import shown

_LOCK_NAME = b"lock"
_LONGEST = 32_768
_ALL_LOCKS = Path("/proc/locks")  # proc_locks(5)


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock, as written into it; believed for messages only."""

    pid: int
    host: str
    since: datetime
    state_dir: str = ""
    """The whole path of its state dir, as `shown`; empty where a version before did not say."""


class ServedElsewhere(CannotStart):
    """A daemon serves the folder, and does not answer in the state dir that was asked."""

    code = "other_state_dir"
    is_certain = True
    """Whether the daemon is known to have another state dir; it may be starting otherwise."""


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
    state_dir = _shown(layout.state_path)
    return Lock(layout, Holder(os.getpid(), socket.gethostname(), since, state_dir))


def served_elsewhere(handoff: Path, state_dir: Path) -> ServedElsewhere | None:
    """What to say of a state dir where nobody answers: a daemon serves the folder with another.

    None when nobody does, or with this one, or where that cannot be told. Only looks: to try the
    lock could refuse a daemon that starts at that moment.
    """
    holder = _holder_now(handoff / ".conductor" / os.fsdecode(_LOCK_NAME))
    if holder is None or holder.state_dir == _shown(os.path.realpath(state_dir)):
        return None
    if holder.state_dir:
        return ServedElsewhere(
            f"a daemon (pid {holder.pid}) serves {handoff.absolute()} with another state dir than "
            f"{state_dir.absolute()}",
            hint=f"give its state dir: {_flag(holder)}",
        )
    uncertain = ServedElsewhere(
        f"a daemon (pid {holder.pid}) serves {handoff.absolute()}, and none answers in "
        f"{state_dir.absolute()}",
        hint="if it has another state dir, give its -state-dir",
    )
    uncertain.is_certain = False
    return uncertain


def _holder_now(path: Path) -> Holder | None:
    """Who holds a lock at this moment."""
    with contextlib.ExitStack() as opened:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            opened.callback(os.close, handle)
            said = _holder_in(os.pread(handle, _LONGEST, 0))
            pid = _locking(os.fstat(handle), said.pid) if said else None
        except OSError:
            return None
    return msgspec.structs.replace(said, pid=pid) if said and pid else None


def _locking(file: os.stat_result, told: int) -> int | None:
    """The process that the kernel names as holder of a file's lock, as it is numbered here.

    Some file systems have another device there (btrfs): then the pid that it told of must agree.
    """
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    for line in _ALL_LOCKS.read_text(encoding="ascii").splitlines():
        _, kind, _, _, pid, place, *_ = line.replace("-> ", "").split()
        where, _, inode = place.rpartition(":")
        if kind == "FLOCK" and inode == str(file.st_ino) and (where == device or pid == str(told)):
            return int(pid)
    return None


def _shown(path: str) -> str:
    return shown(os.fsencode(path))


def _flag(other: Holder) -> str:
    return f"-state-dir {shlex.quote(other.state_dir)}"


def _locked(folder: int, holder: Holder, busy: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with contextlib.ExitStack() as opened:
        try:
            handle = os.open(_LOCK_NAME, flags, 0o600, dir_fd=folder)
            opened.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _holder_in(os.pread(handle, _LONGEST, 0))
            raise _already_running(busy, other, holder) from None
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


def _already_running(busy: str, other: Holder | None, own: Holder) -> CannotStart:
    who = f": pid {other.pid} on {other.host}, since {other.since.isoformat()}" if other else ""
    is_elsewhere = other and other.state_dir not in ("", own.state_dir)
    to_ask = f"; to ask it, give its state dir: {_flag(other)}" if other and is_elsewhere else ""
    return CannotStart(
        busy + who,
        hint="one daemon serves one handoff folder with one state dir; stop that one first"
        + to_ask,
        code="already_running",
    )


def _busy_handoff(layout: Layout) -> str:
    return f"another daemon serves {layout.path}"


def _busy_state(layout: Layout) -> str:
    return f"another daemon uses the state dir {layout.state_path}"
