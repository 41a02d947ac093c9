"""Which layer of confinement can be had here, and what is said when it is less than was asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conductor_loop.adapters.sandbox import jail, landlock
from conductor_loop.adapters.sandbox.confinement import Confinement
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
class Choice:
    """What the spawner has to do, and the sentences that an operator should know of it."""

    confinement: Confinement
    gaps: tuple[str, ...] = ()


def choose(section: SandboxSection, porch: bytes, places: Places) -> Choice:
    """Pick the layer. Raises CannotStart when a demanded one cannot be had."""
    too_far = tuple(_opened_too_far(places))
    if section.choice is SandboxChoice.NONE:
        return _unconfined(section, "the sandbox is turned off")
    if section.choice is SandboxChoice.BWRAP:
        jailed, why = _jail(section, porch, places)
        if jailed is None:
            raise _refused(
                f"the jail is demanded and cannot be made here: {why}",
                "install bubblewrap where user namespaces are allowed, or use -sandbox landlock",
            )
        return Choice(jailed, too_far)
    if version := landlock.abi():
        return Choice(
            _landlocked(section, porch, places, version), (*_gaps(section, version), *too_far)
        )
    if section.choice is SandboxChoice.LANDLOCK:
        raise landlock_missing()
    return _without_landlock(section, porch, places, too_far)


def _landlocked(section: SandboxSection, porch: bytes, places: Places, version: int) -> Confinement:
    tcp = section.network is NetworkChoice.HOST
    if not tcp and version < _TCP:
        raise _refused(
            f"-sandbox-net none needs Landlock {_TCP}, and this kernel has {version}",
            "give -sandbox bwrap, or use a newer kernel",
        )
    rules = child_rules(porch, places)
    return Confinement(rules, tcp=tcp, limits=section.limits, taken=_taken(section))


def _without_landlock(
    section: SandboxSection, porch: bytes, places: Places, too_far: tuple[str, ...]
) -> Choice:
    """What `auto` does where there is no Landlock."""
    jailed, why = _jail(section, porch, places)
    if jailed is not None:
        return Choice(jailed, too_far)
    if section.network is NetworkChoice.NONE:
        raise _refused(
            f"-sandbox-net none needs Landlock or bwrap; here is neither ({why})",
            "use another kernel, or install bubblewrap",
        )
    return _unconfined(
        section, f"this kernel, or this container, offers no Landlock and no bwrap ({why})"
    )


def _jail(section: SandboxSection, porch: bytes, places: Places) -> tuple[Confinement | None, str]:
    network = section.network is NetworkChoice.HOST
    words = jail.command(child_rules(porch, places), network=network)
    if why := jail.trial(words):
        return None, why
    # The kernel counts processes by user and by namespace: in a new one there are none yet.
    return Confinement(prefix=words, tcp=network, limits=section.limits), ""


def _unconfined(section: SandboxSection, why: str) -> Choice:
    confinement = Confinement(limits=section.limits, taken=_taken(section))
    return Choice(confinement, (f"porch is not confined: {why}",))


def _gaps(section: SandboxSection, version: int) -> Iterator[str]:
    if version < _RENAMES:
        yield "Landlock 1: porch cannot rename between folders"
    if version < _TRUNCATES:
        yield f"Landlock {version}: files that porch may read it may also cut to nothing"
    if version < _SCOPES:
        yield f"Landlock {version}: porch may signal processes of its user, the daemon among them"
    if section.network is NetworkChoice.NONE:
        yield "Landlock closes TCP only: porch may still send UDP"


def _opened_too_far(places: Places) -> Iterator[str]:
    for opened, closed in overlaps(places):
        yield f"porch may reach {shown(closed)}, because {shown(opened)} is open to it"


def _taken(section: SandboxSection) -> int:
    return processes_of_this_user() if section.limits.processes else 0


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


def landlock_missing() -> CannotStart:
    """Word that Landlock is demanded and cannot be had."""
    return _refused(
        "Landlock is demanded, and this kernel, or this container, does not offer it",
        "use a kernel of 5.13 or newer with lsm=landlock, or give -sandbox auto",
    )


def _refused(message: str, hint: str) -> CannotStart:
    return CannotStart(message, hint=hint, code="sandbox_not_available")
