"""One run as the spawner sees it: the request, the streams, the answer, and how they travel.

Both ends of the connection import this; it must stay as light as `spawner.py` itself.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN_VARIABLE = b"CONDUCTOR_ATTEMPT"
"""Names the attempt in the environment of everything that runs for it."""
FOLDER_VARIABLE = b"PWD"
"""Names the folder that a child starts in."""
KEPT = 32 * 1024
"""Bytes kept of each end of a stream; what lies between is counted and dropped."""

_CHUNK = 64 * 1024
# A pipe holds 1 MiB at most (pipe(7), pipe-max-size): whatever comes after has a living writer.
_LAST_READS = 17


def message(line: bytes, payload: bytes = b"") -> bytes:
    """Make a message: a line of words, the last of which is the length of the payload behind it."""
    return b"%b %d\n%b" % (line, len(payload), payload)


def messages(buffer: bytearray) -> Iterator[tuple[list[bytes], bytes]]:
    """Take the complete messages out of a buffer, each as its words and its payload."""
    start = 0
    while (end := buffer.find(b"\n", start)) >= 0:
        words = bytes(buffer[start:end]).split(b" ")
        stop = end + 1 + int(words[-1])
        if stop > len(buffer):
            break
        yield words, bytes(buffer[end + 1 : stop])
        start = stop
    del buffer[:start]


class Stream:
    """What a child prints: both ends kept, the middle counted, never left to fill its pipe."""

    __slots__ = ("descriptor", "head", "tail", "total")

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.head = b""
        self.tail = b""
        self.total = 0

    def read(self) -> int:
        """Read once: how many bytes came, 0 at the end, -1 when there are none for now."""
        try:
            data = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return -1
        self.total += len(data)
        fits = KEPT - len(self.head)
        self.head += data[:fits]
        if len(data) > fits:
            self.tail = (self.tail + data[fits:])[-KEPT:]
        return len(data)

    def drain(self) -> None:
        """Take what is there now, and no more than a pipe can hold."""
        reads = 0
        while reads < _LAST_READS and self.read() > 0:
            reads += 1


class Run:
    """One request, from its arrival to the message that answers it."""

    __slots__ = (
        "argv",
        "began",
        "deadline",
        "duration",
        "environment",
        "grace",
        "number",
        "pid",
        "slot",
        "started",
        "status",
        "stopped",
        "streams",
        "timed_out",
        "timeout",
        "token",
    )

    def __init__(self, words: list[bytes], payload: bytes) -> None:
        """Read `run NUMBER TIMEOUT GRACE ARGUMENTS` (times in microseconds).

        The payload is that many arguments, then `NAME=VALUE` for each variable, joined by NUL,
        which neither can hold.
        """
        self.number, microseconds, grace, arguments = map(int, words[1:5])
        self.timeout, self.grace = microseconds / 1e6, grace / 1e6
        texts = payload.split(b"\0")
        self.argv = texts[:arguments]
        self.environment = dict(text.partition(b"=")[::2] for text in texts[arguments:])
        self.token = self.environment.get(TOKEN_VARIABLE, b"")
        self.slot = self.pid = self.status = 0
        # Wall time and steady time, in nanoseconds.
        self.started = self.began = self.duration = 0
        self.deadline: float | None = None
        self.timed_out = self.stopped = False
        self.streams: list[Stream] = []

    def answer(self) -> bytes:
        """Write what came of it, as `children.py` reads it."""
        if self.stopped:
            return message(b"stopped %d 1" % self.number)
        return message(
            b"ended %d %d %d %d %d %d "
            % (
                self.number,
                self.slot,
                self.started,
                self.duration,
                os.waitstatus_to_exitcode(self.status),
                self.timed_out,
            )
            + b" ".join(b"%d %d %d" % (s.total, len(s.head), len(s.tail)) for s in self.streams),
            b"".join(s.head + s.tail for s in self.streams),
        )

    def refusal(self, number: int) -> bytes:
        """Say that the system would not start it, with the error's number."""
        return message(b"refused %d %d %d %d" % (self.number, self.slot, self.started, number))
