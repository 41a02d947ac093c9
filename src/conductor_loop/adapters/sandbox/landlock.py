"""Landlock by its three system calls (landlock(7)); the packages for it are alpha.

The spawner confines itself with this before it becomes small again, so it imports next to nothing.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The same numbers on every architecture but Alpha (asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h

# linux/landlock.h, LANDLOCK_ACCESS_FS_*: bit n in this order.
(
    _EXECUTE,
    _WRITE_FILE,
    _READ_FILE,
    _READ_DIR,
    _REMOVE_DIR,
    _REMOVE_FILE,
    _MAKE_CHAR,
    _MAKE_DIR,
    _MAKE_REG,
    _MAKE_SOCK,
    _MAKE_FIFO,
    _MAKE_BLOCK,
    _MAKE_SYM,
    _REFER,
    _TRUNCATE,
    _IOCTL_DEV,
) = (1 << bit for bit in range(16))
_FS_RIGHTS_OF_ABI = {1: _REFER - 1, 2: _TRUNCATE - 1, 3: _IOCTL_DEV - 1, 4: _IOCTL_DEV - 1}
_ALL_FS_RIGHTS = 2 * _IOCTL_DEV - 1
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_TCP, _TCP_SINCE = 0b11, 4  # bind and connect
_SCOPES, _SCOPES_SINCE = 0b11, 6  # abstract sockets and signals

_READ = _READ_FILE | _READ_DIR
# No child has a use for new devices.
_CHANGE = _ALL_FS_RIGHTS & ~(_MAKE_CHAR | _MAKE_BLOCK | _EXECUTE)
GRANTS = {
    "list": _READ_DIR,
    "see": _READ,
    "read": _READ | _EXECUTE,
    "data": _CHANGE,
    # A device that was handed over is moved aside; to make one still takes CAP_MKNOD.
    "keep": _CHANGE | _MAKE_CHAR | _MAKE_BLOCK,
    "write": _CHANGE | _EXECUTE,
}
"""What a rule may allow: names alone, look, look and run, change without running, the same with
devices that are there, everything."""


def abi() -> int:
    """The version of Landlock that this kernel offers; 0 for none, or where it is refused."""
    return max(0, _call(_CREATE_RULESET, None, 0, _ASK_VERSION))


def allow_nothing_new() -> None:
    """No program started from here gains rights by set-uid bits or file capabilities."""
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _error("no-new-privileges")


def confine(rules: Iterable[tuple[str, bytes]], *, tcp: bool, scoped: bool) -> int:
    """Bind this thread and everything it starts, for ever; return the version reached.

    A rule is a key of GRANTS and an absolute path; one that cannot be opened is left out, as what
    is not there needs no permission. Without `tcp` neither bind nor connect is allowed, where the
    kernel knows that. `scoped`: signals and abstract sockets reach nobody outside, where known.
    Raises OSError.
    """
    version = abi()
    rights = _FS_RIGHTS_OF_ABI.get(version, _ALL_FS_RIGHTS)
    ruleset = _ruleset(
        version,
        rights,
        0 if tcp or version < _TCP_SINCE else _TCP,
        _SCOPES if scoped and version >= _SCOPES_SINCE else 0,
    )
    try:
        for grant, path in rules:
            _allow(ruleset, GRANTS[grant] & rights, path)
        allow_nothing_new()
        if _call(_RESTRICT_SELF, ruleset, 0) != 0:
            raise _error("landlock_restrict_self")
    finally:
        os.close(ruleset)
    return version


def _ruleset(version: int, rights: int, net: int, scopes: int) -> int:
    fields = [rights, net, scopes][: 1 + (version >= _TCP_SINCE) + (version >= _SCOPES_SINCE)]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        raise _error("landlock_create_ruleset")
    return ruleset


def _allow(ruleset: int, rights: int, path: bytes) -> None:
    try:
        handle = os.open(path, os.O_PATH)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        # struct landlock_path_beneath_attr is packed.
        if _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0) != 0:
            raise _error("landlock_add_rule")
    finally:
        os.close(handle)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes | None) -> int:
    syscall = _libc().syscall
    syscall.restype = ctypes.c_long
    wide = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(syscall(ctypes.c_long(number), *wide))


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
