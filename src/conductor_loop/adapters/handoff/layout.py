"""The handoff folder and what we keep in it, as open descriptors: made, checked, made again."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from conductor_loop import disk
from conductor_loop.adapters.handoff.file_system import magic_of, not_local
from conductor_loop.adapters.handoff.own_folders import (
    PLACES,
    PRIVATE,
    STATE_NAME,
    closed_bits,
    make_handoff,
    make_private,
    open_handoff,
    open_places,
    refused,
    uncreated,
    writable,
)
from conductor_loop.adapters.handoff.private_state import files_put_back
from conductor_loop.core.detection.modes import ModeChanged
from conductor_loop.core.faults import DurabilityLost

_JOURNAL = b"journal.db"


@dataclass(frozen=True, slots=True)
class Layout:
    """Every int is a descriptor that keeps its number when the folder behind it is replaced."""

    given: str
    """The handoff folder as it was named, absolute; a symlink may lead elsewhere by now."""
    path: str
    """The same, symlinks resolved once."""
    state_path: str
    """Where journal, keys and control socket live; inside the handoff unless told otherwise."""
    notes: tuple[str, ...]
    """What works, but not as well as it could."""
    handoff: int
    processed: int
    failed: int
    status: int
    history: int
    conductor: int
    claimed: int
    quarantine: int
    state: int
    modes: disk.Modes = disk.DEFAULT_MODES
    """Of what others may read."""
    closed: tuple[ModeChanged, ...] = ()
    """What held a state of ours and was open to others; it is closed now."""

    @property
    def is_state_inside(self) -> bool:
        """Whether the state lives in the handoff folder and so shares its fate."""
        return self.state_path == _inside(self.path)

    def is_current(self) -> bool:
        """Tell whether every name still leads to the folder that is open.

        A symlink is another folder, but for one that the handoff folder was named by.
        """
        return (
            _leads_to(self.path, self.handoff)
            and _leads_to(self.given, self.handoff, follows=True)
            and _leads_to(self.state_path, self.state)
            and all(
                _leads_to(name, getattr(self, field), inside=getattr(self, parent))
                for field, parent, name, _ in PLACES
            )
        )

    def reopen(self) -> None:
        """Open what stands under the names now, make what is missing, keep the numbers.

        When the handoff folder is a new one, `.conductor` is moved over into it: claims, journal
        and lock stay with the daemon. Raises CannotStart, with nothing changed, when what stands
        there cannot be served, and DurabilityLost when the state dir is gone.
        """
        with contextlib.ExitStack() as opened:
            handoff = open_handoff(self.path)
            opened.callback(os.close, handoff)
            self._require_named(handoff)
            if not _is_same(handoff, self.handoff):
                self._carry_over(handoff)
            self._require_state()
            places, _ = open_places(handoff, self.path, self.modes.folder, opened)
            fresh = {"handoff": handoff, **places}
            for field, handle in fresh.items():
                os.dup2(handle, getattr(self, field), inheritable=False)

    def close(self) -> None:
        """Close every descriptor."""
        for field in ("handoff", *(place.field for place in PLACES), "state"):
            os.close(getattr(self, field))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_named(self, handoff: int) -> None:
        """What is claimed belongs to the folder that is served: another one takes a new start."""
        if not _leads_to(self.given, handoff, follows=True):
            raise refused(
                "handoff_replaced",
                f"{self.given} no longer leads to {self.path}",
                "restart to serve where it leads, or put the symlink back",
            )

    def _carry_over(self, handoff: int) -> None:
        """Move `.conductor` from the folder that went away into the one that took its name."""
        try:
            disk.rename_new(self.handoff, STATE_NAME, handoff, STATE_NAME)
        except FileNotFoundError:
            return  # deleted with the old folder, or moved by hand: the checks that follow tell
        except FileExistsError:
            if _leads_to(STATE_NAME, self.conductor, inside=handoff):
                return
            raise refused(
                "handoff_replaced",
                f"{self.path} was replaced by a folder that has a .conductor of its own",
                "restart to serve it, or put the old folder back",
            ) from None
        except OSError as error:
            raise refused(
                "handoff_replaced",
                f"{self.path} was replaced and .conductor cannot follow: {error.strerror}",
                "restart to serve the new folder, or put the old one back",
            ) from error
        disk.sync_each((self.handoff, handoff))

    def _require_state(self) -> None:
        if _leads_to(self.state_path, self.state):
            return
        raise DurabilityLost(
            f"the state dir {self.state_path} was deleted or replaced under the running daemon",
            hint="put it back if it was moved, then start again; without it a new journal begins",
            code="state_dir_gone",
        )


def open_layout(
    handoff: Path,
    state_dir: Path | None = None,
    modes: disk.Modes = disk.DEFAULT_MODES,
    *,
    has_journal: bool = True,
) -> Layout:
    """Open the handoff folder and all of ours in it, creating what is missing.

    `modes` are those of what is made for others; what is ours alone is 0700. A symlink in place of
    one of our folders could be swapped, so it is refused. Only a state without a journal may be on
    a remote file system. Raises CannotStart.
    """
    path = make_handoff(handoff, modes.folder)
    with contextlib.ExitStack() as opened:
        root = open_handoff(path)
        opened.callback(os.close, root)
        places, closed = open_places(root, path, modes.folder, opened)
        state, state_path = _open_state(state_dir, places["conductor"], path)
        opened.callback(os.close, state)
        if state_dir is not None:
            closed += make_private(state, root, state_path, closed_bits(path, state_path))
        is_new = not disk.exists(state, _JOURNAL)
        closed += files_put_back(state, state_path)
        if has_journal:
            _refuse_remote(state, state_path)
        layout = Layout(
            given=os.path.abspath(handoff),
            path=path,
            state_path=state_path,
            notes=(*_notes(root, places), *_shared(state, state_path), *map(str, closed)),
            handoff=root,
            state=state,
            modes=modes,
            closed=() if is_new else tuple(closed),
            **places,
        )
        opened.pop_all()
    return layout


def _open_state(state_dir: Path | None, conductor: int, path: str) -> tuple[int, str]:
    if state_dir is None:
        return os.dup(conductor), _inside(path)
    try:
        os.makedirs(state_dir, PRIVATE, exist_ok=True)
        resolved = os.path.realpath(state_dir)
        handle = disk.open_folder(resolved)
    except OSError as error:
        raise uncreated("state", os.fspath(state_dir), error) from error
    return writable(handle, resolved), resolved


def _refuse_remote(state: int, state_path: str) -> None:
    kind = not_local(magic_of(state))
    if kind is None:
        return
    raise refused(
        "state_dir_not_local",
        f"{state_path} is on {kind}; the journal needs a local disk",
        "give a folder on a local disk with -state-dir; claims stay in the handoff folder",
    )


def _notes(handoff: int, places: dict[str, int]) -> tuple[str, ...]:
    device = os.fstat(handoff).st_dev
    return tuple(
        f"{field}/ is on another file system than the handoff folder: files are copied there"
        for field in ("processed", "failed", "status")
        if os.fstat(places[field]).st_dev != device
    )


def _shared(state: int, state_path: str) -> Iterator[str]:
    """Root's folder that a group was given (a volume): not ours to close, and no stranger's."""
    if os.fstat(state).st_mode & stat.S_IWGRP:
        yield (
            f"whoever is in the group of {state_path} may move the journal away: "
            f"-state-dir {state_path}/conductor would be a folder of the daemon's own"
        )


def _inside(path: str) -> str:
    return f"{path}/{os.fsdecode(STATE_NAME)}"


def _leads_to(
    name: bytes | str, handle: int, *, inside: int | None = None, follows: bool = False
) -> bool:
    try:
        status = os.stat(name, dir_fd=inside, follow_symlinks=follows)
    except OSError:
        return False
    return os.path.samestat(status, os.fstat(handle))


def _is_same(one: int, other: int) -> bool:
    return os.path.samestat(os.fstat(one), os.fstat(other))
