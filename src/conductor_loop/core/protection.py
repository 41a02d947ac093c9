"""What protects one daemon, said by it and journalled: switches, layers reached, ports."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

BUILTIN, PORCH = "builtin", "porch"
_SWITCHES = ("audit", "encryption", "security")
_WORDS = ("publisher", "sandbox", "confined")
_ON, _OFF = "on", "off"
_NO_PORT = "none"


class Protections(msgspec.Struct, frozen=True, omit_defaults=True):
    """As a daemon says it of itself. None and "" mean that it does not say: nothing is assumed."""

    audit: bool | None = None
    """Whether the audit log is kept."""
    encryption: bool | None = None
    """Whether the journal is sealed."""
    security: bool | None = None
    """Whether what porch prints is scrubbed, and what is out of the ordinary noticed."""
    uid: int | None = None
    """As whom it runs."""
    publisher: str = ""
    """BUILTIN or PORCH."""
    sandbox: str = ""
    """The layer that intents are carried out under, as verdicts name it."""
    confined: str = ""
    """The layer of the daemon's own process."""
    ports: tuple[str, ...] | None = None
    """Each as `ROLE SCHEME://ADDRESS`, e.g. `page http://127.0.0.1:9977`."""


def details_of(protections: Protections) -> dict[str, str]:
    """As details of the notice `daemon_started`, so that the disk knows it, too."""
    switches = {name: getattr(protections, name) for name in _SWITCHES}
    told = {name: _ON if is_on else _OFF for name, is_on in switches.items() if is_on is not None}
    told |= {name: word for name in _WORDS if (word := getattr(protections, name))}
    if protections.uid is not None:
        told["uid"] = str(protections.uid)
    if protections.ports is not None:
        told["ports"] = ", ".join(protections.ports) or _NO_PORT
    return told


def protections_in(details: Mapping[str, str]) -> Protections:
    """Read `details_of` back; what another version did not write down is not known."""
    switches = {_ON: True, _OFF: False}
    audit, encryption, security = (switches.get(details.get(name, "")) for name in _SWITCHES)
    publisher, sandbox, confined = (details.get(name, "") for name in _WORDS)
    uid, ports = details.get("uid", ""), details.get("ports", "")
    listed = () if ports == _NO_PORT else tuple(ports.split(", "))
    return Protections(
        audit=audit,
        encryption=encryption,
        security=security,
        uid=int(uid) if uid.isdecimal() else None,
        publisher=publisher,
        sandbox=sandbox,
        confined=confined,
        ports=listed if ports else None,
    )
