"""Who we are when SQLite asks what it may do."""

from __future__ import annotations

import ctypes

import apsw


def ask_for_effective_rights() -> None:
    """Let SQLite ask euidaccess(3) where it asks access(2), in the whole process.

    access(2) answers for the real user without its capabilities. A reader that kept
    CAP_DAC_OVERRIDE and may not write would be told that the write-ahead log is not there, and
    refuse the journal instead of opening it read-only. Where libc has no such call, nothing
    changes.
    """
    try:
        call = ctypes.CDLL(None).euidaccess
    except AttributeError:
        return
    pointer = ctypes.cast(call, ctypes.c_void_p).value or 0  # never null: it was found
    apsw.VFS("effective", base="unix").xSetSystemCall("access", pointer)
