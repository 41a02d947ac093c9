"""Where to listen: a host and a port, as people write them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
_WRITTEN = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):)?(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or IP address, and a port; 0 means any that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody on another machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, `[V6]:PORT`, `:PORT` or `PORT`, on this machine alone without a host.

    Raises ValueError.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not an address to listen on")
    host = (match["host"] or LOOPBACK).strip("[]")
    if ":" in host:
        ipaddress.IPv6Address(host)
    return Address(host, int(match["port"]))
