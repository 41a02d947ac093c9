"""The publisher that the settings name: a porch command, or the built-in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.own_folders import run_as_owner
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.reading import reread_intent
from conductor_loop.operations.traces import sampled_share
from conductor_loop.ports import Publisher
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import sandbox_section, trusted_users
from conductor_loop.settings.sections import modes

if TYPE_CHECKING:
    from conductor_loop.adapters.porch.publisher import PorchSection


def require_porch(settings: Settings) -> None:
    """A porch that is missing stops the start before any folder is made."""
    if not settings.is_builtin:
        from conductor_loop.adapters.porch.program import resolve_porch

        resolve_porch(settings.porch)


def who_may_replace_porch(settings: Settings) -> list[str]:
    """Whoever else may do that, as sentences; nobody who could by what -porch-sha256 pins."""
    if settings.is_builtin or settings.porch_sha256:
        return []
    from conductor_loop.adapters.porch.program import resolve_porch, who_may_replace

    return who_may_replace(resolve_porch(settings.porch), trusted_users(settings))


@asynccontextmanager
async def publisher(
    settings: Settings, layout: Layout, clock: SystemClock, *, confined: str
) -> AsyncIterator[Publisher]:
    """Open the publisher for as long as the daemon serves. Raises CannotStart.

    `confined` is the layer of this process, and so of what is rendered in it.
    """
    if settings.is_builtin:
        from conductor_loop.adapters.builtin.package_folder import PackageFolder
        from conductor_loop.adapters.builtin.publisher import BuiltinPublisher

        folder = PackageFolder.open(settings.out, layout.state_path, modes(settings))
        with contextlib.closing(folder):
            yield BuiltinPublisher(reread_intent, folder, settings.mode, clock, confined)
        return
    from conductor_loop.adapters.porch.publisher import open_porch

    section = _porch(settings, Path(layout.state_path))
    async with open_porch(section, layout.conductor, clock) as porch:
        yield porch


def make_out(settings: Settings) -> None:
    """Make the folder that packages go to, if it is missing. Raises CannotStart."""
    out = settings.out
    try:
        if not out.is_dir():
            out.mkdir(parents=True)
            out.chmod(settings.dir_mode)
    except OSError as error:
        raise CannotStart(
            f"Failed to create output directory {out}: {error.strerror}",
            hint="give -out a folder that the user that runs this may write to",
            code="out_not_usable",
        ) from error
    if not os.access(out, os.W_OK | os.X_OK, effective_ids=True):
        raise CannotStart(
            f"{out} may not be written by uid {os.geteuid()}",
            hint=f"change its owner or mode, or run as its owner{run_as_owner(os.stat(out))}",
            code="out_not_usable",
        )


def _porch(settings: Settings, state: Path) -> PorchSection:
    from conductor_loop.adapters.porch.publisher import PorchSection

    return PorchSection(
        porch=settings.porch,
        out=settings.out,
        state=state,
        mode=settings.mode,
        workers=settings.worker_count(),
        grace=settings.grace,
        environment={n: os.environ[n] for n in settings.child_env if n in os.environ},
        sandbox=sandbox_section(settings, state),
        pinned_sha256=settings.porch_sha256 or "",
        scrub=settings.security_enabled,
        trace_share=sampled_share(settings, os.environ),
    )
