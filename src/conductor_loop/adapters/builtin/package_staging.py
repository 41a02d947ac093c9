"""Where packages are put together before they are seen: a private folder on OUT's file system.

    STAGING/staged/NS/TARGET       the next package; after the exchange with OUT, the one before
    STAGING/written-OUT/NS/TARGET  what was last put there: a line `SHA-256  FILE` for each file
    STAGING/edited/NS/TARGET       the last folder edited by hand that a package took the place of

What is left in `staged` is removed for the target's next package and never written over: somebody
may have opened that folder in OUT and still read it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from conductor_loop import disk
from conductor_loop.core.faults import CannotStart

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_PROBE = b".conductor-loop-probe"  # starts with a dot, so it is no namespace
# Seconds for another process's package, which takes milliseconds. Nothing else runs meanwhile.
_PATIENCE, _PAUSE = 1.0, 0.001
# A record has a line of at most 350 bytes for each of a package's few files.
_LONGEST_RECORD = 1 << 14


class Closing:
    """Closes an open file or folder at the end of a block; a generator would cost more."""

    __slots__ = ("_handle",)

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __enter__(self) -> int:
        return self._handle

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def open_staging(out: str, choices: Sequence[str], modes: disk.Modes) -> Staging:
    """Open the first of these folders from which a rename reaches OUT, making it if need be.

    A mount point, a bind mount or a sandbox in between lets renames fail with EXDEV, so a folder
    is renamed there and removed rather than device numbers compared. Raises CannotStart when none
    will do.
    """
    why: list[str] = []
    with Closing(os.open(out, os.O_RDONLY | os.O_DIRECTORY)) as destination:
        for path in choices:
            try:
                return _reaching(path, out, destination, modes)
            except OSError as error:
                why.append(f"{path}: {error.strerror}")
    raise CannotStart(
        f"no folder from which a package can be renamed into {out} ({'; '.join(why)})",
        hint="make one of them writable, or put -state-dir on the file system of -out",
        code="out_no_staging",
    )


def _reaching(path: str, out: str, destination: int, modes: disk.Modes) -> Staging:
    staging = Staging(path, out, modes)
    try:
        staging.probe(destination)
    except BaseException:
        staging.close()
        raise
    return staging


class Staging:
    """The folder, open. Raises OSError wherever the file system refuses."""

    def __init__(self, path: str, out: str, modes: disk.Modes) -> None:
        self.path = path
        self._modes = modes
        with suppress(FileExistsError):
            os.mkdir(path, _PRIVATE_FOLDER)
        with ExitStack() as opened:
            self._root = opened.enter_context(Closing(disk.open_folder(path)))
            self._staged = opened.enter_context(Closing(_subfolder(self._root, "staged")))
            self._written = opened.enter_context(Closing(self._open_written(out)))
            with suppress(FileExistsError):
                os.close(disk.write_new(self._root, b".gitignore", b"*\n", _PRIVATE_FILE))
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Let go of it."""
        self._opened.close()

    def _open_written(self, out: str) -> int:
        """Open the records of this OUT; the folder may serve another one at another time."""
        # By the way from here to there, so that both may be moved, or mounted, together.
        way = os.path.relpath(os.path.realpath(out), os.path.realpath(self.path))
        name = f"written-{hashlib.sha256(os.fsencode(way)).hexdigest()[:16]}"
        with suppress(OSError):
            # Earlier versions had one for whichever OUT; it tells of the last.
            os.rename("written", name, src_dir_fd=self._root, dst_dir_fd=self._root)
        return _subfolder(self._root, name)

    def probe(self, destination: int) -> None:
        """Rename a folder from here to there, and remove it. Raises OSError if that fails."""
        with suppress(FileExistsError):
            os.mkdir(_PROBE, dir_fd=self._root)
        with suppress(FileNotFoundError):  # another process that starts has taken it
            os.rename(_PROBE, _PROBE, src_dir_fd=self._root, dst_dir_fd=destination)
            os.rmdir(_PROBE, dir_fd=destination)

    @contextmanager
    def stage(
        self, folder: tuple[str, str], files: Mapping[str, bytes], unsynced: Callable[[int], None]
    ) -> Iterator[int]:
        """Write a package; yields the open folder in which it stands under its target's name.

        `unsynced` is called with every file and folder of it while open. Other processes wait
        for the end of the block if they have a package of that namespace; BlockingIOError is
        raised where one of them stands still in it.
        """
        with Closing(_subfolder(self._staged, folder[0])) as namespace:
            _lock(namespace)
            try:
                _write_folder(namespace, folder[1], files, self._modes, unsynced)
            except BaseException:
                with suppress(OSError):
                    remove_tree(namespace, folder[1])
                raise
            yield namespace

    def edited_path(self, folder: tuple[str, str]) -> str:
        """Where an edited folder is kept."""
        return os.path.join(self.path, "edited", *folder)

    @contextmanager
    def keep_edited(self, namespace: int, folder: tuple[str, str]) -> Iterator[int]:
        """Move a staged folder to where the edited one that it replaces is to be kept.

        The exchange with OUT then keeps the edited folder in the same step. Yields the open
        folder in which the staged one now stands under its target's name.
        """
        target = folder[1]
        with (
            Closing(_subfolder(self._root, "edited")) as edited,
            Closing(_subfolder(edited, folder[0])) as kept,
        ):
            with suppress(FileNotFoundError):
                remove_tree(kept, target)
            os.rename(target, target, src_dir_fd=namespace, dst_dir_fd=kept)
            yield kept

    def last_written(self, folder: tuple[str, str]) -> dict[str, str] | None:
        """What was last put into a folder of OUT: digests by file name."""
        try:
            handle = os.open("/".join(folder), os.O_RDONLY, dir_fd=self._written)
        except FileNotFoundError:
            return None
        with Closing(handle):
            lines = os.read(handle, _LONGEST_RECORD).decode(errors="replace").splitlines()
        pairs = (line.partition("  ") for line in lines)
        return {name: digest for digest, _, name in pairs} or None

    def remember(self, folder: tuple[str, str], digests: Mapping[str, str]) -> None:
        """Note what a folder of OUT holds now.

        Never synced on its own: all that comes of a lost note is that a folder of ours is taken
        for one that somebody else made.
        """
        record = "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()
        path, flags = "/".join(folder), os.O_WRONLY | os.O_CREAT
        try:
            handle = os.open(path, flags, _PRIVATE_FILE, dir_fd=self._written)
        except FileNotFoundError:
            os.close(_subfolder(self._written, folder[0]))
            handle = os.open(path, flags, _PRIVATE_FILE, dir_fd=self._written)
        with Closing(handle):
            _overwrite(handle, record)

    def forget(self, folder: tuple[str, str]) -> None:
        """Drop what was noted of a folder of OUT, as well as a failing disk lets us."""
        with suppress(OSError):
            os.unlink("/".join(folder), dir_fd=self._written)


def remove_tree(parent: int, name: str) -> None:
    """Remove a folder and all that is in it, following no symlink."""
    import shutil  # costs more to import than all of this module, and is rarely needed

    shutil.rmtree(name, dir_fd=parent)


def _write_folder(
    parent: int,
    name: str,
    files: Mapping[str, bytes],
    modes: disk.Modes,
    unsynced: Callable[[int], None],
) -> None:
    if not _make(parent, name):
        _remove_folder(parent, name)
        os.mkdir(name, _PRIVATE_FOLDER, dir_fd=parent)
    with Closing(disk.open_folder(name, inside=parent)) as folder:
        for file, content in files.items():
            handle = disk.write_new(folder, file.encode(), content, _PRIVATE_FILE)
            with Closing(handle):
                os.fchmod(handle, modes.file)
                unsynced(handle)
        os.fchmod(folder, modes.folder)
        unsynced(folder)


def _remove_folder(parent: int, name: str) -> None:
    with Closing(disk.open_folder(name, inside=parent)) as folder:
        for file in os.listdir(folder):
            _remove(folder, file)
    os.rmdir(name, dir_fd=parent)


def _overwrite(handle: int, content: bytes) -> None:
    # Not emptied first: ext4 would then start to write the file out when it is closed
    # (auto_da_alloc, ext4(5)).
    done = 0
    while done < len(content):
        done += os.pwrite(handle, content[done:], done)
    if os.fstat(handle).st_size != done:
        os.ftruncate(handle, done)


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):  # EPERM is what POSIX says of a folder
        remove_tree(folder, name)


def _make(parent: int, name: str) -> bool:
    try:
        os.mkdir(name, _PRIVATE_FOLDER, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _lock(folder: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _subfolder(parent: int, name: str) -> int:
    with suppress(FileNotFoundError):
        return disk.open_folder(name, inside=parent)
    _make(parent, name)
    return disk.open_folder(name, inside=parent)
