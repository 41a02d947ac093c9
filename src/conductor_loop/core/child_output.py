"""What a child printed, made fit for a verdict: legible, harmless to a terminal, and short."""

from __future__ import annotations

import re
from dataclasses import dataclass

from conductor_loop.core.legible import legible_block

SHOWN = 8 * 1024
"""Characters shown of each end of a stream; a failure with both streams stays near 32 KiB."""

# ECMA-48, section 5: control sequences; strings (OSC, DCS, SOS, PM, APC) up to their terminator or
# BEL; every other escape. Introducers come as ESC and a letter, or as one C1 character.
_TERMINAL_CONTROL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|\Z)"
    r"|\x1b[ -/]*[0-~]"
)


@dataclass(frozen=True, slots=True)
class Printed:
    """One stream of a child: its first bytes, its last bytes, and how many there were in all."""

    head: bytes = b""
    tail: bytes = b""
    total: int = 0

    @property
    def lost(self) -> int:
        """How many bytes between head and tail were not kept."""
        return self.total - len(self.head) - len(self.tail)


def cleaned(printed: Printed, shown: int = SHOWN) -> str:
    """Decode, strip terminal control, escape what else does not show, and cut with a note.

    At most `shown` characters of each end stay. Control is stripped before escaping tears it
    apart, and cutting comes last, so that it is measured in what a reader sees.
    """
    if printed.lost:
        head, tail = _legible(printed.head), _legible(printed.tail)
        return _joined(head[:shown], f"{printed.lost:,} bytes and more", tail[-shown:])
    text = _legible(printed.head + printed.tail)
    if len(text) <= 2 * shown:
        return text
    return _joined(text[:shown], f"{len(text) - 2 * shown:,} characters", text[-shown:])


def _joined(head: str, cut: str, tail: str) -> str:
    return f"{head}\n[... {cut} cut here ...]\n{tail}"


def _legible(data: bytes) -> str:
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return legible_block(_TERMINAL_CONTROL.sub("", text))
