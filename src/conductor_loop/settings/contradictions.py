"""Demands on the confinement that other settings make impossible: refused, never dropped."""

from __future__ import annotations

from collections.abc import Iterator

from conductor_loop.core.faults import UsageError
from conductor_loop.core.sandbox import NetworkChoice, SandboxChoice
from conductor_loop.settings.model import Settings

_CODE = "sandbox_contradictory"


def confinement_contradictions(settings: Settings) -> Iterator[UsageError]:
    """Each demand on the sandbox that cannot be met together with the other settings."""
    demand = _demand(settings)
    if demand and not settings.security_enabled:
        yield UsageError(
            f"{demand} demands a sandbox, CONDUCTOR_SECURITY_ENABLED=false turns every one off",
            hint="leave one of them out; nothing is run with less than was demanded",
            code=_CODE,
        )
    elif settings.is_builtin and _wants_jail(settings):
        yield UsageError(
            f"{demand} demands the jail for porch, -porch builtin runs no program to put into it",
            hint="leave the demand out: Landlock then confines the daemon, which renders itself; "
            "-sandbox landlock demands that",
            code=_CODE,
        )
    if settings.chroot_enabled and settings.sandbox in (SandboxChoice.LANDLOCK, SandboxChoice.NONE):
        yield UsageError(
            f"CONDUCTOR_CHROOT_ENABLED=true demands the jail, -sandbox {settings.sandbox.value} "
            "another",
            hint="leave one of them out; the jail is -sandbox bwrap",
            code=_CODE,
        )
    is_off = settings.sandbox_choice() is SandboxChoice.NONE
    if is_off and settings.sandbox_net is NetworkChoice.NONE:
        yield UsageError(
            "-sandbox-net none needs a sandbox, and that is turned off",
            hint="leave -sandbox none and CONDUCTOR_SECURITY_ENABLED=false out",
            code=_CODE,
        )


def _wants_jail(settings: Settings) -> bool:
    return settings.chroot_enabled or settings.sandbox is SandboxChoice.BWRAP


def _demand(settings: Settings) -> str:
    """What demands a layer, as it was given; empty when nothing does."""
    if settings.chroot_enabled:
        return "CONDUCTOR_CHROOT_ENABLED=true"
    demanded = settings.sandbox not in (SandboxChoice.AUTO, SandboxChoice.NONE)
    return f"-sandbox {settings.sandbox.value}" if demanded else ""
