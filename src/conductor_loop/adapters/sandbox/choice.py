"""Which layer of confinement can be had here, and what is said when it is less than was asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conductor_loop.adapters.sandbox import landlock
from conductor_loop.adapters.sandbox.confinement import NONE, Confinement
from conductor_loop.adapters.sandbox.rules import Places, child_rules, overlaps
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import shown
from conductor_loop.core.sandbox import Limits, NetworkChoice, SandboxChoice

# The versions that brought what the older ones lack (landlock(7)).
_RENAMES, _TRUNCATES, _TCP, _SCOPES = 2, 3, 4, 6


@dataclass(frozen=True, slots=True)
class SandboxSection:
    """What the operator decided about porch's confinement."""

    choice: SandboxChoice
    network: NetworkChoice
    limits: Limits
    read: Sequence[Path]
    write: Sequence[Path]
    closed: Sequence[Path]
    """Handoff, state and keys."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What was chosen; `gaps` are the sentences that an operator should know."""

    choice: SandboxChoice
    gaps: tuple[str, ...] = ()


def choose(section: SandboxSection) -> Layer:
    """Pick the layer. Raises CannotStart when a demanded one cannot be had."""
    if section.choice is SandboxChoice.NONE:
        return Layer(SandboxChoice.NONE, ("porch is not confined: the sandbox is turned off",))
    if section.choice is SandboxChoice.BWRAP:
        raise _refused("the jail (bwrap) is demanded and not available", "use -sandbox landlock")
    version = landlock.abi()
    if not version:
        return _without_landlock(section)
    if section.network is NetworkChoice.NONE and version < _TCP:
        raise _refused(
            f"-sandbox-net none needs Landlock {_TCP}, and this kernel has {version}",
            "use a newer kernel",
        )
    return Layer(SandboxChoice.LANDLOCK, tuple(_gaps(section, version)))


def _without_landlock(section: SandboxSection) -> Layer:
    if section.choice is SandboxChoice.AUTO and section.network is NetworkChoice.HOST:
        return Layer(
            SandboxChoice.NONE,
            ("porch is not confined: this kernel, or this container, offers no Landlock",),
        )
    raise _refused(
        "Landlock is demanded, and this kernel, or this container, does not offer it",
        "use a kernel of 5.13 or newer with lsm=landlock, or give -sandbox auto",
    )


def _gaps(section: SandboxSection, version: int) -> Iterator[str]:
    if version < _RENAMES:
        yield "Landlock 1: porch cannot rename between folders"
    if version < _TRUNCATES:
        yield f"Landlock {version}: files that porch may read it may also cut to nothing"
    if version < _SCOPES:
        yield f"Landlock {version}: porch may signal processes of its user, the daemon among them"
    if section.network is NetworkChoice.NONE:
        yield "Landlock closes TCP only: porch may still send UDP"


def confinement(layer: Layer, section: SandboxSection, porch: bytes, places: Places) -> Confinement:
    """What the spawner has to do for this layer."""
    taken = processes_of_this_user() if section.limits.processes else 0
    if layer.choice is SandboxChoice.NONE:
        return Confinement(limits=section.limits, taken=taken)
    return Confinement(
        child_rules(porch, places),
        tcp=section.network is NetworkChoice.HOST,
        limits=section.limits,
        taken=taken,
    )


def opened_too_far(places: Places) -> Iterator[str]:
    """A sentence for everything closed that the operator opened."""
    for opened, closed in overlaps(places):
        yield f"porch may reach {shown(closed)}, because {shown(opened)} is open to it"


def require(layer: Layer, demanded: SandboxChoice, reached: str) -> None:
    """Raise CannotStart when the spawner got less than was demanded."""
    if reached == NONE and demanded not in (SandboxChoice.AUTO, SandboxChoice.NONE):
        raise _refused(f"{layer.choice.value} is demanded and was refused", "see the log")


def processes_of_this_user() -> int:
    """Threads of this user, as RLIMIT_NPROC counts them."""
    us, count = os.getuid(), 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal():
            try:
                if os.stat(f"/proc/{name}").st_uid == us:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:  # gone since
                continue
    return count


def _refused(message: str, hint: str) -> CannotStart:
    return CannotStart(message, hint=hint, code="sandbox_not_available")
