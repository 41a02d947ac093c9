"""A process beside the daemon: what it says wrong, and how it ends, holds up nobody else."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from conductor_loop.adapters.companion import Companion, Program
from conductor_loop.adapters.sandbox.confinement import Confinement
from conductor_loop.core.exporting import Exporting, decode_progress, encode
from tests.fakes import in_a_loop
from tests.system.daemon import PATIENCE
from tests.system.test_trace_process import ended, journal_with

PROGRAM = "conductor_loop.tracing.program"
NO_DESCRIPTOR = 99_999


@in_a_loop
async def test_what_nobody_understands_is_logged_and_another_one_is_started(
    caplog: pytest.LogCaptureFixture,
) -> None:
    talks: list[int] = []
    is_again = asyncio.Event()

    async def talk(link: socket.socket) -> None:
        talks.append(link.fileno())
        if len(talks) == 1:
            decode_progress(b"{")
        is_again.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(Companion(Program("t", PROGRAM), talk, lambda _: None).run())
    async with asyncio.timeout(PATIENCE):
        await is_again.wait()
    running.cancel()
    await asyncio.wait([running])
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "said what nobody understands" in errors[0]
    assert any("again in 0.2 s" in each.getMessage() for each in caplog.records)


@in_a_loop
async def test_one_that_cannot_be_started_is_tried_again_and_leaves_nothing_open() -> None:
    told: list[str] = []
    is_again = asyncio.Event()

    def note(how: str) -> None:
        told.append(how)
        if len(told) == 2:
            is_again.set()

    async def talk(link: socket.socket) -> None:
        raise AssertionError("there is nobody to talk to")

    before = len(os.listdir("/proc/self/fd"))
    program = Program("t", PROGRAM, inherited=(NO_DESCRIPTOR,))
    running = asyncio.create_task(Companion(program, talk, note).run())
    async with asyncio.timeout(PATIENCE):
        await is_again.wait()
    running.cancel()
    await asyncio.wait([running])
    assert told == ["it did not start"] * 2
    assert len(os.listdir("/proc/self/fd")) == before


@in_a_loop
async def test_one_that_does_not_end_is_waited_for_while_everything_else_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await journal_with(tmp_path, ended(1))
    words = tuple(Confinement().words())
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        program = Program(
            "t", PROGRAM, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"},
            ending_seconds=1.0,
        )  # fmt: skip

        async def talk(link: socket.socket) -> None:
            task = Exporting("test", str(tmp_path), "", 0, words, words)
            await asyncio.get_running_loop().sock_sendall(link, encode(task))
            await asyncio.Event().wait()

        companion = Companion(program, talk, told.append)
        running = asyncio.create_task(companion.run())
        silent.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            # It has asked, and is never answered.
            asked, _ = await asyncio.get_running_loop().sock_accept(silent)
        with asked:
            running.cancel()
            turns = 0
            while not running.done():
                await asyncio.sleep(0.01)
                turns += 1
    assert turns > 10
    assert running.cancelled()
    assert _child_count() == 0
    said = [each.getMessage() for each in caplog.records]
    assert said == ["the process that t took over 1 s to end: killed"]


def _child_count() -> int:
    """How many children of this process are left; a test of ours has no others."""
    own = threading.get_native_id()
    return len(Path(f"/proc/self/task/{own}/children").read_text().split())
