"""A porch command at work, for the suite that every publisher runs."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.porch.publisher import PorchPublisher, PorchSection, open_porch
from conductor_loop.core.packages import Mode
from tests.sandboxes import sandbox
from tests.system.child_processes import PORCHES


@asynccontextmanager
async def open_small_porch(folder: Path) -> AsyncIterator[PorchPublisher]:
    """A porch that writes `NAMESPACE/TARGET/scaling-patch.yaml` below `folder/out`."""
    out, state, porch = folder / "out", folder / "state", folder / "porch"
    out.mkdir()
    state.mkdir(0o700)
    program = PORCHES / "porch_in_python.py"
    porch.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{program}" "$@"\n')
    porch.chmod(0o755)
    section = PorchSection(
        porch=str(porch),
        out=out,
        state=state,
        mode=Mode.DIRECT,
        workers=2,
        grace=timedelta(seconds=10),
        environment={},
        sandbox=sandbox(read=(PORCHES,), closed=(state,)),
    )
    handle = os.open(state, os.O_RDONLY)
    try:
        async with open_porch(section, handle, SystemClock()) as publisher:
            yield publisher
    finally:
        os.close(handle)
