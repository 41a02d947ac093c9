"""An intent's package as it lies in OUT now, held against what was delivered."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence

from conductor_loop import disk
from conductor_loop.adapters.beneath import read_beneath
from conductor_loop.core.events import Output
from conductor_loop.core.legible import legible_block

_LONGEST = 64 << 10
"""Bytes of a file that are shown whole; a longer one is not shown."""
_MOST_FILES = 50


class Packages:
    """Reads OUT, which a later intent of the same target may have replaced."""

    def __init__(self, out: str) -> None:
        self._out = os.path.realpath(out)  # OUT itself may be a link, what is in it may not

    def show(self, outputs: Sequence[Output]) -> list[dict[str, str]]:
        """Tell path, digest, state and text of each file; a text is empty when it is not shown."""
        return list(self._each(outputs[:_MOST_FILES]))

    def _each(self, outputs: Sequence[Output]) -> Iterator[dict[str, str]]:
        for output in outputs:
            state, text = self._now(output)
            yield {"path": output.path, "sha256": output.sha256, "state": state, "text": text}

    def _now(self, output: Output) -> tuple[str, str]:
        try:
            data = self._read(os.fsencode(output.path))
        except FileNotFoundError:
            return "gone", ""
        except OSError:
            return "cannot be shown", ""
        is_delivered = hashlib.sha256(data).hexdigest() == output.sha256
        return "as delivered" if is_delivered else "changed since", legible_block(_text(data))

    def _read(self, path: bytes) -> bytes:
        folder = disk.open_folder(self._out)
        try:
            return read_beneath(folder, path, _LONGEST)
        finally:
            os.close(folder)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
