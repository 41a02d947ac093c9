"""What a child printed, made fit for a verdict: legible, harmless, without secrets, short."""

from __future__ import annotations

import re
from dataclasses import dataclass

from conductor_loop.core.legible import legible_block
from conductor_loop.core.scrubbing import SCRUBBED, scrubbed, scrubbed_tail

SHOWN = 8 * 1024
"""Characters shown of each end of a stream; a failure with both streams stays near 32 KiB."""

# ECMA-48, section 5: control sequences; strings (OSC, DCS, SOS, PM, APC) up to their terminator or
# BEL; every other escape. Introducers come as ESC and a letter, or as one C1 character. A string
# that is not ended is taken as far as the next ESC, where terminals end it, too: if the expression
# failed there instead, a megabyte of introducers would be read a million times.
_TERMINAL_CONTROL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*+[0-~]"
)
# Longer than any secret that is one word.
_LONGEST_WORD = 4096
_PARTIAL_WORD = re.compile(rf"\A\S{{0,{_LONGEST_WORD}}}+")


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


def cleaned(printed: Printed, shown: int = SHOWN, *, scrub: bool = True) -> str:
    """Decode, strip terminal control, scrub, escape what else does not show, cut with a note.

    At most `shown` characters of each end stay. Control is stripped before scrubbing, because it
    could hide a secret, and that before escaping tears both apart. Cutting comes last, so that it
    is measured in what a reader sees, and tears no secret in two.
    """
    if printed.lost:
        head, tail = _decoded(printed.head), _decoded(printed.tail)
        if scrub:
            head, tail = scrubbed(_without_last_word(head)), _scrubbed_tail(tail)
        head, tail = legible_block(head), legible_block(tail)
        return _joined(head[:shown], f"{printed.lost:,} bytes and more", tail[-shown:])
    text = _decoded(printed.head + printed.tail)
    text = legible_block(scrubbed(text) if scrub else text)
    if len(text) <= 2 * shown:
        return text
    return _joined(text[:shown], f"{len(text) - 2 * shown:,} characters", text[-shown:])


def _joined(head: str, cut: str, tail: str) -> str:
    return f"{head}\n[... {cut} cut here ...]\n{tail}"


def _decoded(data: bytes) -> str:
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return _TERMINAL_CONTROL.sub("", text)


def _without_last_word(text: str) -> str:
    """Drop a word that was torn apart: half a token is not told from other words."""
    ending = text[-_LONGEST_WORD:]
    torn = len(ending.rsplit(None, 1)[-1]) if ending and not ending[-1].isspace() else 0
    return text[: len(text) - torn]


def _scrubbed_tail(text: str) -> str:
    """Scrub a text that begins anywhere: in a private key, or in a word."""
    text = scrubbed_tail(text)
    return text if text.startswith(SCRUBBED) else _PARTIAL_WORD.sub("", text)
