"""A real notification socket, as systemd gives one to a service of `Type=notify`."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.daemon import wait_until


class NotifySocket:
    """Collects what a service tells; every line is one assignment."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self._lines: list[str] = []

    @classmethod
    def beside(cls, folder: Path) -> NotifySocket:
        """One in the file system."""
        return cls(str(folder / "notify"))

    def lines(self) -> list[str]:
        """Everything told so far."""
        while True:
            try:
                self._lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self._lines

    def wait_for(self, line: str, times: int = 1) -> None:
        """Wait until a line was told so often."""
        wait_until(lambda: self.lines().count(line) >= times, f"{line} is told {times} times")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
