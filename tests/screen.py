"""What a terminal would show: bytes of a program replayed on a screen without end."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[(\?25[lh]|[0-9;]*[A-Za-z])|([\r\n])|([^\x1b\r\n]+)|(\x1b)")


def shown_on_screen(written: str) -> list[str]:
    """The lines that stand there in the end; a screen so wide that nothing wraps."""
    lines, row, column = [""], 0, 0
    for control, motion, text, stray in _TOKEN.findall(written):
        assert not stray, f"a sequence that this screen does not know in {written!r}"
        if text:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + text + line[column + len(text) :]
            column += len(text)
        elif motion == "\r":
            column = 0
        elif motion == "\n":
            row += 1
            lines += [""] if row == len(lines) else []
        elif control.endswith("A"):
            row -= int(control[:-1] or 1)
        elif control == "2K":
            lines[row] = ""
        elif control in ("K", "0K"):
            lines[row] = lines[row][:column]
        else:
            assert control.endswith("m") or control.startswith("?25"), control
    return [line.rstrip() for line in lines if line.strip()]
