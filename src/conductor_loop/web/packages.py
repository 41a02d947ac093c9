"""An intent's package as it lies in OUT now, held against what was delivered."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from conductor_loop import disk
from conductor_loop.adapters.beneath import read_beneath
from conductor_loop.core.events import Output
from conductor_loop.core.legible import legible_block

_LONGEST = 64 << 10
"""Bytes of a file that are shown whole; a longer one is not shown."""
_MOST_FILES = 50
_PATIENCE_SECONDS = 3.0
"""How long OUT may take; a folder of a server that is gone answers never."""
_NO_ANSWER = (
    f"OUT did not answer within {_PATIENCE_SECONDS:g} s, so what lies there now is not known; "
    "the digests are those of the journal"
)


class Packages:
    """Reads OUT, which a later intent of the same target may have replaced, in its one thread.

    Nothing else waits for that thread. Who asks while it hangs is told so after the same time.
    """

    def __init__(self, out: str) -> None:
        self._out = out
        self._thread = ThreadPoolExecutor(1, "packages")

    async def show(self, outputs: Sequence[Output]) -> dict[str, object]:
        """Tell path, digest, state and text of each file; a text is empty when it is not shown.

        With them comes what a reader should know of the list: that it is cut, or not compared.
        """
        first = outputs[:_MOST_FILES]
        notes = [f"and {len(outputs) - len(first)} more files"] if len(outputs) > len(first) else []
        try:
            files = await asyncio.wait_for(self._look(first), _PATIENCE_SECONDS)
        except TimeoutError:
            files = [_told(output, "not known now") for output in first]
            notes.insert(0, _NO_ANSWER)
        return {"outputs": files, "outputs_notes": notes}

    async def _look(self, outputs: Sequence[Output]) -> list[dict[str, str]]:
        if not outputs:
            return []
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: list(self._each(outputs)))

    def _each(self, outputs: Sequence[Output]) -> Iterator[dict[str, str]]:
        for output in outputs:
            yield _told(output, *self._now(output))

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
        # OUT itself may be a link, what is in it may not.
        folder = disk.open_folder(os.path.realpath(self._out))
        try:
            return read_beneath(folder, path, _LONGEST)
        finally:
            os.close(folder)


def _told(output: Output, state: str, text: str = "") -> dict[str, str]:
    return {"path": output.path, "sha256": output.sha256, "state": state, "text": text}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
