"""Puts packages into OUT, each folder as a whole: a reader finds the old one or the new one.

A folder is put together in `package_staging` and exchanged with the one in OUT (RENAME_EXCHANGE,
renameat2(2)). Where a file system cannot exchange, two renames do it, and for a moment there is
none. Nothing below OUT is reached through a symlink.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from conductor_loop import disk
from conductor_loop.adapters.builtin.package_contents import Found, digests_in, sha256
from conductor_loop.adapters.builtin.package_staging import (
    Closing,
    Staging,
    open_staging,
    remove_tree,
)
from conductor_loop.core.events import Failure, FailureKind
from conductor_loop.core.faults import CannotStart, DurabilityLost
from conductor_loop.core.packages import Package

# More handles than this do not wait for a sync each: their file system is synced instead.
_FEW = 4
_NO_EXCHANGE_HERE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_NO_FOLDER = {errno.ENOTDIR, errno.ELOOP}
_ASIDE = ".aside"  # no target's name starts with a dot

_FAILURES = {
    errno.ENOSPC: ("out_no_room", "free space or inodes on its file system"),
    errno.EDQUOT: ("out_no_room", "raise the quota, or free space"),
    errno.EACCES: ("out_not_permitted", "give the user that runs this write access to it"),
    errno.EPERM: ("out_not_permitted", "give the user that runs this write access to it"),
    errno.EROFS: ("out_read_only", "mount its file system writable"),
    errno.EAGAIN: (
        "out_in_use",
        "another process has stood still in the middle of a package there: continue or end it",
    ),
    errno.EXDEV: ("out_moved", "its file system is another than at the start: start again"),
}


@dataclass(frozen=True, slots=True)
class Placed:
    """A package is in OUT. It survives a power cut after the next `settle`."""

    digests: Mapping[str, str]
    """SHA-256 in hex by file name."""
    changed: bool
    """False when the folder held these files already, as this program left them."""
    notes: tuple[str, ...]


class PackageFolder:
    """OUT, as far as this process writes to it. One package of a target at a time."""

    def __init__(self, out: str, staging: Staging, modes: disk.Modes) -> None:
        self._out = out
        self._modes = modes
        self._staging = staging
        self._unsynced = _Unsynced()
        self._unsettled: list[tuple[str, str]] = []

    @classmethod
    def open(
        cls,
        out: str | os.PathLike[str],
        state: str | os.PathLike[str] | None = None,
        modes: disk.Modes = disk.DEFAULT_MODES,
    ) -> PackageFolder:
        """Make OUT if it is missing, and find a folder to put packages together in.

        That is `packages` in the folder `state`, if one is given and a rename reaches OUT from
        there; else `.NAME.staging` beside OUT; else, as with a mounted volume, `.conductor-loop`
        within OUT. Raises CannotStart when OUT cannot be used.
        """
        path = os.path.abspath(out)
        try:
            _make_out(path, modes.folder)
        except OSError as error:
            raise CannotStart(
                f"Failed to create output directory {path}: {error.strerror}",
                hint="give -out a folder that the user that runs this may write to",
                code="out_not_usable",
            ) from error
        staging = open_staging(path, list(_staging_choices(path, state)), modes)
        return cls(path, staging, modes)

    def close(self) -> None:
        """Give the staging folder back. What is not settled may not survive a power cut."""
        self._unsynced.forget()
        self._staging.close()

    def put(self, package: Package, warn: Callable[[str], None]) -> Placed | Failure:
        """Bring one folder of OUT in line with a package.

        A folder that is not as it was left is told to `warn` before it is replaced, noted, and
        kept beside the staged ones until the next such one of its target.
        """
        try:
            return self._put(package, warn)
        except _Obstructed as obstacle:
            return Failure(
                kind=FailureKind.PERMANENT,
                code="out_obstructed",
                message=f"{os.path.join(self._out, obstacle.path)} is not a folder",
                hint="move away the symlink or file that is in the package's place, then retry",
            )
        except OSError as error:
            return _failure(error, os.path.join(self._out, *package.folder))

    def settle(self) -> None:
        """Make every package put so far survive a power cut. Raises DurabilityLost."""
        self.unsettled()()

    def unsettled(self) -> Callable[[], None]:
        """What `settle` would do for the packages put until now, to be called in any thread.

        Packages put meanwhile are the next one's.
        """
        unsynced, self._unsynced = self._unsynced, _Unsynced()
        folders, self._unsettled = self._unsettled, []

        def sync() -> None:
            try:
                unsynced.sync()
            except DurabilityLost:
                # Files that look right in memory may be lost on disk; without a record of having
                # written them, the next one writes them anew.
                for folder in folders:
                    self._staging.forget(folder)
                raise

        return sync

    def _put(self, package: Package, warn: Callable[[str], None]) -> Placed:
        digests = {name: sha256(content) for name, content in package.files.items()}
        with (
            Closing(self._open_out()) as out,
            Closing(self._open_namespace(out, package.folder[0])) as namespace,
        ):
            found = self._look(namespace, package.folder, digests)
            notes: tuple[str, ...] = ()
            changed = not found.is_wanted()
            if changed:
                notes = self._bring_in(namespace, package, found, warn)
                self._staging.remember(package.folder, digests)
            else:
                self._sync_again(namespace, package)
            self._unsynced.note(namespace)
            self._unsettled.append(package.folder)
        return Placed(digests, changed, notes)

    def _open_out(self) -> int:
        # Anew each time: whoever moves OUT away does not want packages to follow it.
        with suppress(FileNotFoundError):
            return os.open(self._out, os.O_RDONLY | os.O_DIRECTORY)
        _make_out(self._out, self._modes.folder)
        return os.open(self._out, os.O_RDONLY | os.O_DIRECTORY)

    def _open_namespace(self, out: int, name: str) -> int:
        with suppress(FileNotFoundError):
            return _open_inside(out, name, name)
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=out)
        namespace = _open_inside(out, name, name)
        os.fchmod(namespace, self._modes.folder)
        self._unsynced.note(out)
        return namespace

    def _look(self, namespace: int, folder: tuple[str, str], wanted: Mapping[str, str]) -> Found:
        try:
            inside = _open_inside(namespace, folder[1], "/".join(folder))
        except FileNotFoundError:
            return Found(None, None, wanted)
        with Closing(inside):
            written = self._staging.last_written(folder)
            expected = wanted.keys() | (written or {}).keys()
            return Found(digests_in(inside, expected), written, wanted)

    def _bring_in(
        self, namespace: int, package: Package, found: Found, warn: Callable[[str], None]
    ) -> tuple[str, ...]:
        target = package.folder[1]
        with self._staging.stage(package.folder, package.files, self._unsynced.note) as staged:
            if found.files is None:
                # A folder is renamed onto nothing or an empty one; there is nothing to lose.
                os.rename(target, target, src_dir_fd=staged, dst_dir_fd=namespace)
                return ()
            if found.is_ours():
                _swap(staged, namespace, target)
                return ()
            what = f"{found.edit()}; it is kept as {self._staging.edited_path(package.folder)}"
            warn(f"replacing {what}")
            with self._staging.keep_edited(staged, package.folder) as kept:
                _swap(kept, namespace, target)
            return (f"replaced {what}",)

    def _sync_again(self, namespace: int, package: Package) -> None:
        # Written before, perhaps by a process that died before it could sync.
        with Closing(disk.open_folder(package.folder[1], inside=namespace)) as folder:
            for name in package.files:
                with Closing(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)) as file:
                    self._unsynced.note(file)
            self._unsynced.note(folder)


class _Obstructed(Exception):
    """Something that is no folder stands where one has to be."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class _Unsynced:
    """Files and folders that wait for the next sync; of many, only that they are many."""

    def __init__(self) -> None:
        self._handles: list[int] = []
        self._are_many = False

    def note(self, handle: int) -> None:
        """Remember an open file or folder; the caller may close it."""
        if len(self._handles) < _FEW:
            self._handles.append(os.dup(handle))
        else:
            self._are_many = True

    def sync(self) -> None:
        """Sync them all. Raises DurabilityLost."""
        try:
            if self._are_many:
                disk.sync_file_system(self._handles[0])
            elif self._handles:
                disk.sync_each(self._handles)
        finally:
            self.forget()

    def forget(self) -> None:
        """Let go of everything."""
        for handle in self._handles:
            os.close(handle)
        self._handles, self._are_many = [], False


def _staging_choices(out: str, state: str | os.PathLike[str] | None) -> Iterator[str]:
    if state is not None:
        yield os.path.join(os.path.abspath(state), "packages")
    parent, name = os.path.split(os.path.realpath(out))
    yield os.path.join(parent, f".{name}.staging")
    yield os.path.join(out, ".conductor-loop")


def _make_out(out: str, mode: int) -> None:
    if not os.path.isdir(out):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        os.mkdir(out)
        os.chmod(out, mode)
    if not os.access(out, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), out)


def _open_inside(parent: int, name: str, path: str) -> int:
    try:
        return disk.open_folder(name, inside=parent)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            raise _Obstructed(path) from error
        raise


def _swap(staged: int, namespace: int, target: str) -> None:
    """Exchange a target's folder in one folder with that in another."""
    name = target.encode()
    try:
        disk.exchange(staged, name, namespace, name)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE_HERE:
            raise
        with suppress(FileNotFoundError):
            remove_tree(staged, _ASIDE)
        os.rename(target, _ASIDE, src_dir_fd=namespace, dst_dir_fd=staged)
        os.rename(target, target, src_dir_fd=staged, dst_dir_fd=namespace)
        os.rename(_ASIDE, target, src_dir_fd=staged, dst_dir_fd=staged)


def _failure(error: OSError, path: str) -> Failure:
    code, hint = _FAILURES.get(error.errno or 0, ("out_failed", "look at the disk and its mounts"))
    return Failure(
        kind=FailureKind.ENVIRONMENT,
        code=code,
        message=f"cannot write {path}: {error.strerror}",
        hint=hint,
    )
