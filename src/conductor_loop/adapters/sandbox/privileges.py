"""Never root: whoever starts the daemon as root gets a daemon that is somebody else.

Why it is done so: docs/decisions/0008-never-root.md.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conductor_loop.core.faults import CannotStart

NOBODY = 65532
"""The user that distroless images call nonroot."""
_WORK = os.R_OK | os.W_OK | os.X_OK


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the daemon is to be."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Footing:
    """What the daemon stands on: folders to work in, folders and files to read, and its state."""

    handoff: Path
    state: Path
    folders: Sequence[Path]
    """To read and write besides the two; the nearest existing one above counts."""
    readable: Sequence[Path]
    unaided: Sequence[Path]
    """What has to be reached without CAP_DAC_OVERRIDE, by children that cannot be given it."""


@dataclass(frozen=True, slots=True)
class Departure:
    """How root was left behind; `overrides`: with CAP_DAC_OVERRIDE, which has to be confined."""

    identity: Identity
    overrides: bool


def leave_root(run_as: str, footing: Footing, can_confine: bool) -> Departure | None:
    """Become somebody who is not root; None when we are not root anyway.

    `run_as` is USER[:GROUP] or empty; then it is the handoff folder's owner, else NOBODY. Where
    that user cannot work everywhere, CAP_DAC_OVERRIDE is kept, provided that it can be confined.
    Raises CannotStart. To be called while there is one thread only.
    """
    if 0 not in os.getresuid():
        if run_as and _parsed(run_as).uid != os.geteuid():
            raise _refused("-run-as needs root to begin with", "leave it out, or start as root")
        return None
    identity = _chosen(run_as, footing.handoff)
    _hand_over_state(footing.state, identity)
    missing, overrides = _out_of_reach(identity, footing), False
    if missing:
        overrides = can_confine and missing not in map(str, footing.unaided)
    who = f"{identity.uid}:{identity.gid}"
    if missing and not overrides:
        raise _refused(
            f"started as root, and uid {identity.uid} cannot work in {missing}",
            f"chown {who} {missing}, or give -run-as its owner"
            if _nearest(Path(missing)) == Path(missing).absolute()
            else f"make it first: mkdir -p {missing} && chown {who} {missing}; or give -run-as the"
            f" owner of {_nearest(Path(missing))}",
        )
    _become(identity, overrides)
    return Departure(identity, overrides)


def daemon_uid(run_as: str, handoff: Path) -> int:
    """As whom a daemon would run that this user starts. Raises CannotStart."""
    return _chosen(run_as, handoff).uid if 0 in os.getresuid() else os.geteuid()


def _chosen(run_as: str, handoff: Path) -> Identity:
    return _parsed(run_as) if run_as else _owner(handoff)


def _parsed(run_as: str) -> Identity:
    user, _, group = run_as.partition(":")
    try:
        identity = _named(user) if not user.isdecimal() else _numbered(int(user))
        if group:
            import grp

            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
            identity = Identity(identity.uid, gid, identity.groups)
    except KeyError:
        raise _refused(
            f"-run-as {run_as}: there is no such user or group", "see getent passwd"
        ) from None
    if identity.uid == 0:
        raise _refused("-run-as names root, which never runs this", "name another user")
    return identity


def _named(user: str) -> Identity:
    entry = pwd.getpwnam(user)
    return Identity(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(user, entry.pw_gid)))


def _numbered(uid: int) -> Identity:
    try:
        return _named(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return Identity(uid, uid)


def _owner(handoff: Path) -> Identity:
    try:
        facts = os.stat(handoff)
    except OSError:
        return Identity(NOBODY, NOBODY)
    if facts.st_uid == 0:
        return Identity(NOBODY, NOBODY)
    known = _numbered(facts.st_uid)
    return Identity(facts.st_uid, known.gid if known.groups else facts.st_gid, known.groups)


def _hand_over_state(state: Path, identity: Identity) -> None:
    """Give a state folder that an earlier root made to the new user.

    Only what root alone could have put there: a folder of root's that nobody else may write to.
    """
    try:
        folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if _is_roots_alone(os.fstat(folder)):
            _hand_over(folder, identity)
    finally:
        os.close(folder)


def _hand_over(folder: int, identity: Identity) -> None:
    for entry in os.scandir(folder):
        facts = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode) and facts.st_uid == 0:
            with contextlib.suppress(OSError):
                inner = os.open(
                    entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder
                )
                try:
                    _hand_over(inner, identity)
                finally:
                    os.close(inner)
        elif stat.S_ISREG(facts.st_mode) and facts.st_uid == 0 and facts.st_nlink == 1:
            os.chown(entry.name, identity.uid, identity.gid, dir_fd=folder, follow_symlinks=False)
    os.fchown(folder, identity.uid, identity.gid)


def _is_roots_alone(facts: os.stat_result) -> bool:
    return facts.st_uid == 0 and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _out_of_reach(identity: Identity, footing: Footing) -> str:
    """What this user cannot work with, or nothing; asked by a child that has become that user."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(writing, identity, footing)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = os.fsdecode(answer.read())
    os.waitpid(pid, 0)
    return said


def _answer(writing: int, identity: Identity, footing: Footing) -> None:
    try:
        _switch(identity)
        os.write(writing, os.fsencode(_first_out_of_reach(footing)))
    finally:
        os._exit(0)


def _first_out_of_reach(footing: Footing) -> Path | str:
    """What nothing can help with comes first."""
    works = {footing.handoff: _WORK, footing.state: _WORK}
    works |= dict.fromkeys(footing.folders, _WORK) | dict.fromkeys(footing.readable, os.R_OK)
    for path in (*footing.unaided, *works):
        if not os.access(_nearest(path), works[path]):
            return path
    return ""


def _nearest(path: Path) -> Path:
    """The path, or what is nearest above it. What cannot be looked at is taken for existing."""
    for each in (path.absolute(), *path.absolute().parents):
        try:
            os.stat(each)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return each
        return each
    return Path("/")


def _become(identity: Identity, overrides: bool) -> None:
    from conductor_loop.adapters.sandbox import capabilities as caps

    # Leases tell whether somebody still writes to a file that is not ours.
    kept = frozenset({caps.CAP_LEASE} | ({caps.CAP_DAC_OVERRIDE} if overrides else set()))
    inherited = frozenset({caps.CAP_DAC_OVERRIDE} if overrides else set())
    try:
        caps.bound_to(kept)
        caps.keep_across_setuid()
        _switch(identity)
        _keep(kept, inherited)
    except OSError as error:
        raise _refused(
            f"started as root, and cannot become uid {identity.uid}: {error.strerror}",
            "start it as the user that it is to be (in a container: runAsUser)",
        ) from error


def _keep(kept: frozenset[int], inherited: frozenset[int]) -> None:
    from conductor_loop.adapters.sandbox import capabilities as caps

    try:
        caps.set_exactly(kept, inherited)
    except OSError:
        # A container may lack CAP_LEASE; without it quiet alone tells that a file is complete.
        caps.set_exactly(inherited, inherited)


def _switch(identity: Identity) -> None:
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)


def _refused(message: str, hint: str) -> CannotStart:
    return CannotStart(message, hint=hint, code="never_root")
