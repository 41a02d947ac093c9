"""What of root's power a thread keeps, by capset(2) and prctl(2); no more than two pieces ever."""

from __future__ import annotations

import ctypes
import os
import struct

CAP_DAC_OVERRIDE, CAP_LEASE = 1, 28  # linux/capability.h
_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP, _PR_SET_KEEPCAPS = 24, 8
_PR_CAP_AMBIENT, _RAISE, _CLEAR_ALL = 47, 2, 4
_MOST = 64


def keep_across_setuid() -> None:
    """Let the next change of user leave the permitted set as it is. Raises OSError."""
    _prctl(_PR_SET_KEEPCAPS, 1)


def bound_to(kept: frozenset[int]) -> None:
    """Make every other capability unreachable, also for programs started later."""
    for number in range(_MOST):
        if number in kept:
            continue
        try:
            _prctl(_PR_CAPBSET_DROP, number)
        except OSError:  # past the last one, or without CAP_SETPCAP: nothing is gained by exec then
            return


def set_exactly(kept: frozenset[int], inherited: frozenset[int]) -> None:
    """Have `kept` and nothing else; programs started from here have `inherited`. Raises OSError."""
    words = [_mask(kept), _mask(kept), _mask(inherited)]
    low = [word & 0xFFFFFFFF for word in words]
    high = [word >> 32 for word in words]
    header = struct.pack("=Ii", _VERSION_3, 0)
    data = struct.pack("=6I", *low, *high)
    if ctypes.CDLL(None, use_errno=True).capset(header, data) != 0:
        raise _error()
    for number in sorted(inherited):
        _prctl(_PR_CAP_AMBIENT, _RAISE, number)


def pass_none_on() -> None:
    """Programs started from here have no capability."""
    _prctl(_PR_CAP_AMBIENT, _CLEAR_ALL)


def _mask(numbers: frozenset[int]) -> int:
    return sum(1 << number for number in numbers)


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *words) != 0:
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
