"""What can be wrong with a machine and its folders, found out without changing anything."""

from __future__ import annotations

import os
import pwd
import select
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from conductor_loop.adapters.handoff.file_system import magic_of, not_local
from conductor_loop.adapters.pressure import LEAST_SENSIBLE_MARK
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.naming import shown
from conductor_loop.core.packages import BUILTIN
from conductor_loop.core.sandbox import SandboxChoice

T = TypeVar("T")
OWN_FOLDERS = ("processed", "failed", "status", ".conductor")
"""What the daemon keeps in the handoff folder."""
_LEAST_QUEUE = 16_384  # the kernel's default; a burst beyond it only costs a scan
_LEAST_BYTES, _LEAST_INODES = 64 << 20, 1_000
_EVENTS = 1 << 16
_CANARY_SECONDS = 1.0
_CLOCK_SKEW_SECONDS = 1.0
# Before this program was written, a clock is wrong: certificates and retention would be too.
_EARLIEST_CLOCK = 1_767_225_600  # 2026-01-01T00:00:00Z


class Grade(StrEnum):
    """How good a finding is."""

    OK = "ok"
    WARNING = "warning"
    BAD = "bad"
    """The daemon would not start, or not do its work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    grade: Grade
    message: str
    hint: str = ""


def tried(subject: str, check: Callable[[], T]) -> T | Finding:
    """What a check finds; when the system lets it not look, then that."""
    try:
        return check()
    except OSError as error:
        where = f"{_place(error)}: " if error.filename is not None else ""
        return Finding(
            subject,
            Grade.BAD,
            f"{_me()} cannot look: {where}{error.strerror or error}",
            "run the doctor as the daemon's user; if that is who you are, mend what is named",
        )


def _place(error: OSError) -> str:
    place = error.filename
    return shown(os.fsencode(place)) if isinstance(place, str | bytes) else str(place)


def check_porch(porch: str, users: Container[int], pinned: str = "") -> Finding:
    """Whether the command can be run, which file it is, and whether only `users` may replace it.

    `pinned` is the SHA-256, in hex, that it must have.
    """
    if porch == BUILTIN:
        return Finding("porch", Grade.OK, "built in")
    from conductor_loop.adapters.porch.program import (
        require_trusted,
        resolve_porch,
        who_may_replace,
    )

    try:
        command = resolve_porch(porch)
        require_trusted(command, pinned)
    except ConductorError as error:
        return Finding("porch", Grade.BAD, error.message, error.hint)
    others = [] if pinned else who_may_replace(command, users)
    if others:
        hint = "give it to root or the daemon's user and take others' right to write, or pin it"
        return Finding("porch", Grade.WARNING, f"others may replace it: {'; '.join(others)}", hint)
    return Finding("porch", Grade.OK, f"{os.fsdecode(command.path)} sha256:{command.sha256()}")


def check_sandbox(choice: SandboxChoice) -> Finding:
    """Which layer of confinement can be had here, whatever the porch."""
    from conductor_loop.adapters.sandbox import jail, landlock

    version = landlock.abi() if sys.platform == "linux" else 0
    why = jail.trial(jail.command([("read", path) for path in jail.LEAST], network=True))
    offered = [f"landlock-{version}"] if version else []
    offered += [] if why else ["bwrap"]
    told = f"{choice.value} is asked for; here is {', '.join(offered) or 'none'}"
    if choice is SandboxChoice.NONE:
        return Finding("sandbox", Grade.WARNING, told, "porch is not confined")
    if choice is SandboxChoice.AUTO:
        return Finding("sandbox", Grade.OK if offered else Grade.WARNING, told)
    if any(name.startswith(choice.value) for name in offered):
        return Finding("sandbox", Grade.OK, told)
    return Finding("sandbox", Grade.BAD, told, why if choice is SandboxChoice.BWRAP else "")


def check_folder(subject: str, path: Path) -> Finding:
    """Whether a folder is there, or could be made, and this user may work in it.

    Raises OSError, as most checks do, when that cannot be told; see `tried`.
    """
    if _is_folder(path):
        if os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            return Finding(subject, Grade.OK, str(path))
        return Finding(
            subject,
            Grade.BAD,
            f"{path} may not be read and written by {_me()}",
            "change its owner or mode, or run as its owner",
        )
    if stands(path) or path.is_symlink():
        return Finding(subject, Grade.BAD, f"{path} is no folder", "move away what stands there")
    parent = next(p for p in path.absolute().parents if stands(p))
    if os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
        return Finding(subject, Grade.OK, f"{path} will be made at start")
    return Finding(
        subject,
        Grade.BAD,
        f"{path} does not exist and {_me()} may not make it in {parent}",
        "create it for this user",
    )


def check_own_folder(path: Path) -> Finding | None:
    """Whether something else stands where the daemon keeps a folder; None if nothing does."""
    name = path.name
    if path.is_symlink():
        return Finding(name, Grade.BAD, f"{path} is a symlink", "remove it; a folder is made there")
    return check_folder(name, path) if stands(path) else None


def check_private(state_dir: Path, users: Container[int]) -> Finding | None:
    """Whether the state is the daemon's alone, who is one of `users`; None if there is none yet."""
    if not _is_folder(state_dir):
        return None
    owner = os.stat(state_dir).st_uid
    if owner not in users:
        told = f"{state_dir} belongs to uid {owner}, who could swap what is in it"
        return Finding("state modes", Grade.BAD, told, "run as that user, or chown it")
    paths = [state_dir, *state_dir.glob("journal.*"), *state_dir.glob("audit/*.jsonl")]
    modes = [(path, stat.S_IMODE(os.stat(path).st_mode) & 0o777) for path in paths]
    told = ", ".join(f"{path} {mode:04o}" for path, mode in modes if mode & 0o077)
    if not told:
        return Finding("state modes", Grade.OK, "nobody else may read or change the state")
    hint = "the next start closes it and tells of it; find out who changed the modes"
    return Finding("state modes", Grade.WARNING, f"open to others: {told}", hint)


def check_state_disk(state_dir: Path) -> Finding:
    """Whether the journal would stand on a local disk."""
    handle = os.open(_nearest(state_dir), os.O_RDONLY)
    try:
        kind = not_local(magic_of(handle))
    finally:
        os.close(handle)
    if kind is None:
        return Finding("state disk", Grade.OK, f"{state_dir} is on a local file system")
    return Finding(
        "state disk",
        Grade.BAD,
        f"{state_dir} is on {kind}; the journal needs a local disk",
        "give a folder on a local disk with -state-dir",
    )


def check_same_device(handoff: Path, out: Path) -> Finding:
    """Whether packages and claims are renames, or copies."""
    here, there = (os.stat(_nearest(path)).st_dev for path in (handoff, out))
    where = "one file system" if here == there else "different file systems; that is fine"
    return Finding("devices", Grade.OK, f"handoff and out are on {where}")


def check_event_limits() -> Finding:
    """Whether inotify has room; without events the daemon scans."""
    limits = Path("/proc/sys/fs/inotify")
    if sys.platform != "linux" or not limits.is_dir():
        return Finding("event limits", Grade.WARNING, "no inotify here: files are found by scans")
    values = {p.name: int(p.read_text(encoding="ascii")) for p in limits.iterdir()}
    told = ", ".join(f"{name}={value}" for name, value in sorted(values.items()))
    if values["max_queued_events"] < _LEAST_QUEUE or values["max_user_instances"] < 1:
        return Finding(
            "event limits",
            Grade.WARNING,
            told,
            f"sysctl fs.inotify.max_queued_events={_LEAST_QUEUE} makes bursts cheaper",
        )
    return Finding("event limits", Grade.OK, told)


def check_events(handoff: Path) -> Finding:
    """Put a canary into the folder and see whether the kernel tells; then take it away."""
    if not _is_folder(handoff) or sys.platform != "linux":
        return Finding("events", Grade.WARNING, "not tried: no such folder yet, or no inotify")
    try:
        heard = _hears_canary(handoff)
    except OSError as error:
        return Finding("events", Grade.BAD, f"no canary in {handoff}: {error.strerror}")
    if heard:
        return Finding("events", Grade.OK, "a canary file was announced at once")
    return Finding(
        "events",
        Grade.WARNING,
        "a canary file was not announced: this mount tells nothing",
        "files are found by the scan, so choose -period as the delay you can bear",
    )


def check_clock(handoff: Path) -> Finding:
    """Whether this machine's clock is sane, and the file system's agrees with it."""
    if time.time() < _EARLIEST_CLOCK:
        return Finding("clock", Grade.BAD, "it is behind by years", "set it, e.g. with chrony")
    if not _is_folder(handoff) or not os.access(handoff, os.W_OK | os.X_OK, effective_ids=True):
        return Finding("clock", Grade.OK, "sane; not compared with the file system's")
    with _canary(handoff) as path:
        skew = os.stat(path).st_ctime - time.time()
    if abs(skew) > _CLOCK_SKEW_SECONDS:
        return Finding(
            "clock",
            Grade.WARNING,
            f"the file system's clock differs by {skew:+.1f} s",
            "synchronise both; until then files written in place may wait longer",
        )
    return Finding("clock", Grade.OK, "sane, and the file system agrees")


def check_room(subject: str, path: Path) -> Finding:
    """Whether there are bytes and inodes left."""
    room = os.statvfs(_nearest(path))
    free = room.f_bavail * room.f_frsize
    told = f"{free >> 20:,} MiB and {room.f_favail:,} inodes free"
    short = free < _LEAST_BYTES or (room.f_files > 0 and room.f_favail < _LEAST_INODES)
    if short:
        return Finding(subject, Grade.BAD, told, "make room: the daemon pauses when it is full")
    return Finding(subject, Grade.OK, told)


def check_memory(mark: int | None) -> Finding:
    """Whether the daemon's own memory is bounded, by a mark (bytes) that it can stay below."""
    if mark is None:
        return Finding("memory", Grade.OK, "not bounded by -max-memory, nor by a control group")
    told = f"no more files are taken above {mark >> 20:,} MiB of the daemon's resident memory"
    if mark < LEAST_SENSIBLE_MARK:
        hint = f"at rest it uses not much less than {LEAST_SENSIBLE_MARK >> 20} MiB: give more"
        return Finding("memory", Grade.WARNING, told, hint)
    return Finding("memory", Grade.OK, told)


def check_producer(user: str, handoff: Path) -> Finding:
    """Whether another user can hand files over."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return Finding("producer", Grade.BAD, f"no user {user or 'without a name'} on this machine")
    if not _is_folder(handoff):
        return Finding(
            "producer", Grade.WARNING, f"{handoff} is not there yet", "it will be made 0755: "
            f"writable by its owner alone, so create it for {user} first"
        )  # fmt: skip
    folder = handoff.resolve()
    blocked = _blocking(entry, folder)
    if blocked is None:
        return Finding("producer", Grade.OK, f"{user} may hand files over in {handoff}")
    return Finding(
        "producer",
        Grade.BAD,
        f"{user} may not {'write in' if blocked == folder else 'pass through'} {blocked}",
        f"setfacl -m u:{user}:rwx {blocked}, or a group that both are in",
    )


def _blocking(user: pwd.struct_passwd, folder: Path) -> Path | None:
    """The first folder on the way that a user may not pass, or the last one not to write in."""
    groups = set(os.getgrouplist(user.pw_name, user.pw_gid))
    for passed in reversed(folder.parents):
        if not _allows(user, groups, passed, 0o1):
            return passed
    return None if _allows(user, groups, folder, 0o3) else folder


def _allows(user: pwd.struct_passwd, groups: set[int], folder: Path, wanted: int) -> bool:
    if user.pw_uid == 0:
        return True
    status = os.stat(folder)
    shift = 6 if status.st_uid == user.pw_uid else 3 if status.st_gid in groups else 0
    return status.st_mode >> shift & wanted == wanted


def _hears_canary(handoff: Path) -> bool:
    from asyncinotify import Inotify, Mask

    with Inotify() as inotify:
        inotify.add_watch(handoff, Mask.CLOSE_WRITE)
        with _canary(handoff) as path:
            deadline = time.monotonic() + _CANARY_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                readable, _, _ = select.select([inotify.fd], [], [], left)
                if readable and path.name.encode() in os.read(inotify.fd, _EVENTS):
                    return True
    return False


@contextmanager
def _canary(handoff: Path) -> Iterator[Path]:
    """A file that no daemon takes for an intent, gone again afterwards."""
    handle, path = tempfile.mkstemp(prefix=".conductor-canary-", dir=handoff)
    try:
        os.close(handle)
        yield Path(path)
    finally:
        os.unlink(path)


def _nearest(path: Path) -> Path:
    """The folder itself, or the deepest one above it that exists."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if stands(p))


def stands(path: Path) -> bool:
    """Whether there is something. Raises OSError, unlike some `Path.exists`, if it is not known."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _is_folder(path: Path) -> bool:
    return stands(path) and path.is_dir()


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
