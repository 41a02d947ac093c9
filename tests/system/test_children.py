"""Children through the spawner, with real processes that behave as badly as they can."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from conductor_loop.adapters.porch import proc
from conductor_loop.adapters.porch.children import (
    Children,
    ChildResult,
    Ending,
    NoSupervisor,
    SpawnFailed,
    Stopped,
    SupervisorLost,
)
from conductor_loop.adapters.porch.runs import KEPT
from conductor_loop.adapters.sandbox.confinement import Confinement
from conductor_loop.core.faults import CannotStart
from tests.system.child_processes import (
    PATIENCE,
    carriers,
    is_alive,
    python,
    request,
    shell,
    unique_prefix,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


@pytest.fixture
def prefix() -> str:
    return unique_prefix()


T = TypeVar("T")


def with_children(prefix: str, scenario: Callable[[Children], Awaitable[T]], workers: int = 2) -> T:
    async def main() -> T:
        async with Children(workers, prefix) as children:
            async with asyncio.timeout(PATIENCE):
                return await scenario(children)

    return asyncio.run(main())


def run_one(
    prefix: str, *argv: str | bytes | Path, timeout: float = PATIENCE, grace: float = PATIENCE
) -> Ending:
    one = request(prefix, "one", *argv, timeout=timeout, grace=grace)
    return with_children(prefix, lambda children: children.run(one))


def finished(ending: Ending) -> ChildResult:
    assert isinstance(ending, ChildResult), ending
    return ending


def spawner_of(prefix: str) -> int:
    token = f"{prefix}spawner".encode()
    # A child that was forked and has not called exec yet still shows the spawner's environment.
    return min(p for p in carriers(prefix) if proc.token(p) == token)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
        await asyncio.sleep(0.005)


# What a child is given.


def test_a_child_gets_its_arguments_byte_for_byte(prefix: str) -> None:
    odd = b"a\nb \xff\xfe$(id);'\"" + b"x" * 5000

    ending = finished(run_one(prefix, *shell('printf %s "$1"'), "sh", odd))

    assert ending.stdout.head == odd


def test_a_child_inherits_nothing_but_its_own_three_descriptors(prefix: str) -> None:
    with open(__file__, "rb") as foreign:
        os.set_inheritable(foreign.fileno(), True)
        seen = json.loads(finished(run_one(prefix, *python("show_itself.py"))).stdout.head)

    assert seen["descriptors"] == [0, 1, 2]
    assert seen["stdin"] == "/dev/null"


def test_a_child_starts_with_default_signals_in_a_session_of_its_own(prefix: str) -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        seen = json.loads(finished(run_one(prefix, *python("show_itself.py"))).stdout.head)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR1, before)

    assert (seen["blocked"], seen["ignored"], seen["leads_session"]) == (0, 0, True)


def test_a_child_gets_the_environment_that_was_asked_for_and_no_more(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/nowhere/evil.so")
    wanted = {"PATH": "/usr/bin:/bin", "CONDUCTOR_ATTEMPT": f"{prefix}one"}

    seen = json.loads(finished(run_one(prefix, *python("show_itself.py"))).stdout.head)

    # The C locale is Python's own addition (PEP 538).
    seen["environment"].pop("LC_CTYPE", None)
    assert seen["environment"] == wanted


# How it ended.


@pytest.mark.parametrize("code", [0, 1, 2, 3, 75, 124, 127, 255])
def test_an_exit_status_is_reported_as_it_is(prefix: str, code: int) -> None:
    ending = finished(run_one(prefix, *shell(f"exit {code}")))

    assert (ending.exit_code, ending.signal, ending.timed_out) == (code, None, False)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_death_by_a_signal_is_no_exit_status(prefix: str, number: int) -> None:
    ending = finished(run_one(prefix, *shell(f"kill -{number} $$")))

    assert (ending.exit_code, ending.signal, ending.timed_out) == (None, number, False)


@pytest.mark.parametrize(
    ("content", "mode", "error"),
    [
        (None, 0, errno.ENOENT),
        ("#!/nowhere/interpreter\n", 0o755, errno.ENOENT),
        ("#!/bin/sh\n", 0o644, errno.EACCES),
        ("no program at all", 0o755, errno.ENOEXEC),
    ],
)
def test_a_program_that_cannot_be_started_is_told_from_one_that_failed(
    prefix: str, tmp_path: Path, content: str | None, mode: int, error: int
) -> None:
    program = tmp_path / "program"
    if content is not None:
        program.write_text(content)
        program.chmod(mode)

    ending = run_one(prefix, program)

    assert isinstance(ending, SpawnFailed)
    assert ending.error == error


def test_arguments_beyond_what_the_system_takes_are_a_failed_start(prefix: str) -> None:
    ending = run_one(prefix, "/bin/true", b"x" * 200_000)

    assert isinstance(ending, SpawnFailed)
    assert ending.error == errno.E2BIG


def test_a_failed_start_does_not_hold_up_the_others(prefix: str) -> None:
    async def scenario(children: Children) -> list[Ending]:
        programs = ["/bin/true"] * 9
        programs[4] = "/nowhere/porch"
        runs = [children.run(request(prefix, f"{n}", p)) for n, p in enumerate(programs)]
        return await asyncio.gather(*runs)

    endings = with_children(prefix, scenario)

    kinds = [type(ending) for ending in endings]
    assert kinds == [ChildResult] * 4 + [SpawnFailed] + [ChildResult] * 4


def test_a_result_says_where_when_and_how_long(prefix: str) -> None:
    before = time.time()

    ending = finished(run_one(prefix, *shell("sleep 0.05")))

    assert before - 1 < ending.started_at.timestamp() < time.time() + 1
    assert 0.05 <= ending.duration.total_seconds() < PATIENCE
    assert ending.worker == 0


# Output.


def test_short_output_of_both_streams_is_kept_whole(prefix: str) -> None:
    ending = finished(run_one(prefix, *shell("printf 'a\\0b'; printf 'c\\n' >&2")))

    assert (ending.stdout.head, ending.stdout.tail, ending.stdout.total) == (b"a\0b", b"", 3)
    assert (ending.stderr.head, ending.stderr.lost) == (b"c\n", 0)


def test_of_long_output_both_ends_are_kept_and_the_rest_counted(prefix: str) -> None:
    ending = finished(run_one(prefix, *shell("seq -f %09.0f 100000")))

    assert ending.stdout.head.startswith(b"000000001\n")
    assert ending.stdout.tail.endswith(b"000100000\n")
    assert len(ending.stdout.head) == len(ending.stdout.tail) == KEPT
    assert ending.stdout.total == 1_000_000


def test_output_between_one_end_and_two_is_whole(prefix: str) -> None:
    ending = finished(run_one(prefix, *shell("seq -f %09.0f 6000")))

    whole = b"".join(b"%09d\n" % n for n in range(1, 6001))
    assert ending.stdout.head + ending.stdout.tail == whole


def test_200_megabytes_of_output_cost_bounded_memory(prefix: str) -> None:
    async def scenario(children: Children) -> tuple[Ending, int]:
        spawner = spawner_of(prefix)
        before = peak_kilobytes(spawner)
        flood = "head -c 100000000 /dev/zero & head -c 100000000 /dev/zero >&2; wait"
        ending = await children.run(request(prefix, "flood", *shell(flood)))
        return ending, peak_kilobytes(spawner) - before

    ending, growth = with_children(prefix, scenario)

    assert finished(ending).stdout.total == finished(ending).stderr.total == 100_000_000
    assert growth < 4096


def peak_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


# Deadlines.


def test_a_child_past_its_deadline_is_asked_to_end(prefix: str) -> None:
    script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.01; done"

    ending = finished(run_one(prefix, *shell(script), timeout=0.5))

    assert (ending.timed_out, ending.exit_code) == (True, 0)
    assert ending.stdout.head == b"up\nasked\n"


def test_a_child_that_ignores_the_request_is_killed_after_the_grace(prefix: str) -> None:
    script = "trap '' TERM; while :; do sleep 0.01; done"

    ending = finished(run_one(prefix, *shell(script), timeout=0.2, grace=0.2))

    assert (ending.timed_out, ending.signal) == (True, signal.SIGKILL)
    assert ending.duration.total_seconds() >= 0.4
    assert carriers(prefix) == []


def test_the_deadline_is_meant_for_the_whole_tree(prefix: str, tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f"setsid sh -c 'trap \"echo asked > {said}; exit\" TERM; sleep 600 & wait' & wait"

    finished(run_one(prefix, *shell(script), timeout=0.5))

    assert said.read_text() == "asked\n"
    assert carriers(prefix) == []


def test_a_stopped_child_does_not_escape_its_deadline(prefix: str) -> None:
    ending = finished(run_one(prefix, *shell("kill -STOP $$"), timeout=0.2, grace=0.1))

    assert (ending.timed_out, ending.signal) == (True, signal.SIGKILL)


# Survivors.


def test_nothing_in_the_background_outlives_its_run(prefix: str) -> None:
    ending = run_one(prefix, *shell("sleep 600 & sleep 600 & exit 0"))

    assert finished(ending).exit_code == 0
    assert carriers(prefix) == []


@pytest.mark.parametrize("flags", [[], ["clean"]])
def test_a_daemon_that_closed_everything_does_not_outlive_its_run(
    prefix: str, tmp_path: Path, flags: list[str]
) -> None:
    mark = tmp_path / "mark"

    async def scenario(children: Children) -> bool:
        run = request(prefix, "one", *python("leave_a_daemon.py", mark, *flags))
        assert finished(await children.run(run)).exit_code == 0
        return is_alive(int(mark.read_text()))

    assert not with_children(prefix, scenario)


def test_a_daemon_is_ended_although_another_run_goes_on(prefix: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    async def scenario(children: Children) -> None:
        long = asyncio.create_task(children.run(request(prefix, "long", *shell("read x <&1"))))
        slow = request(prefix, "slow", *shell("exec sleep 600"))
        other = asyncio.create_task(children.run(slow))
        finished(await long)
        await children.run(request(prefix, "one", *python("leave_a_daemon.py", mark)))
        assert not is_alive(int(mark.read_text()))
        assert not other.done()
        await children.stop("slow")
        await other

    with_children(prefix, scenario)


def test_a_run_keeps_its_own_daemons_while_another_ends(prefix: str, tmp_path: Path) -> None:
    """Processes that lost their parent are ended by the end of their own run only."""
    mark, go = tmp_path / "mark", tmp_path / "go"

    async def scenario(children: Children) -> tuple[bool, bool]:
        wait = f'until test -e {go}; do sleep 0.01; done; kill -0 "$(cat {mark})"'
        daemon = " ".join(f"'{word}'" for word in python("leave_a_daemon.py", mark))
        keeper = request(prefix, "keeper", *shell(f"{daemon}; {wait}"))
        kept = asyncio.create_task(children.run(keeper))
        await until(mark.exists)
        for n in range(5):
            await children.run(request(prefix, f"short{n}", *shell("sleep 0.01 & exit 0")))
        alive_during = is_alive(int(mark.read_text()))
        go.touch()
        return alive_during, finished(await kept).exit_code == 0

    assert with_children(prefix, scenario) == (True, True)
    assert not is_alive(int(mark.read_text()))


def test_a_crowd_of_daemons_does_not_outlive_its_run(prefix: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    async def scenario(children: Children) -> list[int]:
        run = request(prefix, "one", *python("leave_a_crowd.py", mark, "100"))
        assert finished(await children.run(run)).exit_code == 0
        return [int(line) for line in mark.read_text().splitlines()]

    crowd = with_children(prefix, scenario)

    assert len(crowd) >= 100
    assert not any(map(is_alive, crowd))
    assert carriers(prefix) == []


def test_a_process_that_runs_away_by_forking_does_not_outlive_its_run(
    prefix: str, tmp_path: Path
) -> None:
    count = tmp_path / "count"

    async def scenario(children: Children) -> tuple[bytes, bytes]:
        run = request(prefix, "one", *python("run_away.py", count))
        assert finished(await children.run(run)).exit_code == 0
        before = count.read_bytes()
        for n in range(50):
            await children.run(request(prefix, f"{n}", "/bin/true"))
        return before, count.read_bytes()

    before, after = with_children(prefix, scenario)

    assert int(before) > 10
    assert after == before


def test_row_30_a_grandchild_that_holds_the_output_does_not_hold_up_the_run(prefix: str) -> None:
    ending = finished(run_one(prefix, *shell("echo said; setsid sleep 600 & exit 3")))

    assert (ending.exit_code, ending.stdout.head) == (3, b"said\n")


def test_a_stranger_that_holds_the_output_does_not_hold_up_the_run(
    prefix: str, tmp_path: Path
) -> None:
    """Not our child and not our descendant: it opened the pipe from outside, and is left alone."""

    async def scenario(children: Children) -> Ending:
        ready = tmp_path / "ready"
        script = f"echo $$ > {ready}.new; mv {ready}.new {ready}; read x < {tmp_path}/gate; exit 0"
        os.mkfifo(tmp_path / "gate")
        run = asyncio.create_task(children.run(request(prefix, "one", *shell(script))))
        await until(ready.exists)
        held = os.open(f"/proc/{ready.read_text().strip()}/fd/1", os.O_WRONLY)
        (tmp_path / "gate").write_text("go\n")
        ending = await run
        os.close(held)
        return ending

    assert finished(with_children(prefix, scenario)).exit_code == 0


def test_dead_strays_are_buried(prefix: str) -> None:
    async def scenario(children: Children) -> None:
        for n in range(10):
            await children.run(request(prefix, f"{n}", *shell("setsid sleep 600 & exit 0")))
        us = spawner_of(prefix)
        # The answer does not wait for a burial: whoever is dead does nothing any more.
        await until(lambda: us not in {proc.status(pid)[1] for pid in proc.everybody()})

    with_children(prefix, scenario)


# Workers, order, stopping.


def test_no_more_children_run_at_once_than_there_are_workers(prefix: str, tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/$0; ls {tmp_path} | wc -l; sleep 0.02; rmdir {tmp_path}/$0"

    async def scenario(children: Children) -> list[Ending]:
        runs = [children.run(request(prefix, f"{n}", *shell(script), f"{n}")) for n in range(12)]
        return await asyncio.gather(*runs)

    endings = [finished(ending) for ending in with_children(prefix, scenario, workers=3)]

    assert max(int(ending.stdout.head) for ending in endings) <= 3
    assert {ending.worker for ending in endings} == {0, 1, 2}


def test_runs_start_in_the_order_of_their_requests(prefix: str, tmp_path: Path) -> None:
    book = tmp_path / "book"

    async def scenario(children: Children) -> None:
        script = f"echo $0 >> {book}"
        runs = [children.run(request(prefix, f"{n}", *shell(script), f"{n}")) for n in range(20)]
        await asyncio.gather(*runs)

    with_children(prefix, scenario, workers=1)

    assert book.read_text().split() == [str(n) for n in range(20)]


def test_an_answer_waits_for_no_other_run_to_end(prefix: str, tmp_path: Path) -> None:
    """However many are queued: answers are held back for one another, but only for a moment."""
    go = tmp_path / "go"

    async def scenario(children: Children) -> list[Ending]:
        short = asyncio.create_task(children.run(request(prefix, "short", "/bin/true")))
        script = f"until test -e {go}; do sleep 0.01; done"
        slow = [request(prefix, f"{n}", *shell(script)) for n in range(20)]
        others = [asyncio.create_task(children.run(one)) for one in slow]
        first = await short
        assert not any(other.done() for other in others)
        go.touch()
        return [first, *await asyncio.gather(*others)]

    endings = with_children(prefix, scenario)

    assert [finished(ending).exit_code for ending in endings] == [0] * 21


def test_a_running_child_can_be_stopped_at_once(prefix: str, tmp_path: Path) -> None:
    up = tmp_path / "up"

    async def scenario(children: Children) -> Ending:
        script = f"trap '' TERM; setsid sleep 600 & touch {up}; sleep 600"
        run = asyncio.create_task(children.run(request(prefix, "one", *shell(script))))
        await until(up.exists)
        await children.stop("one")
        ending = await run
        assert carriers(prefix) == [spawner_of(prefix)]
        return ending

    assert with_children(prefix, scenario) == Stopped(started=True)


def test_a_waiting_run_can_be_stopped_and_never_starts(prefix: str, tmp_path: Path) -> None:
    async def scenario(children: Children) -> Ending:
        first = asyncio.create_task(
            children.run(request(prefix, "first", *shell("exec sleep 600")))
        )
        second_request = request(prefix, "second", *shell(f"touch {tmp_path}/ran"))
        second = asyncio.create_task(children.run(second_request))
        await until(lambda: len(carriers(prefix)) == 2)
        await children.stop("second")
        ending = await second
        await children.stop("first")
        await first
        return ending

    assert with_children(prefix, scenario, workers=1) == Stopped(started=False)
    assert not (tmp_path / "ran").exists()


def test_what_waits_can_be_recalled_while_what_runs_goes_on(prefix: str, tmp_path: Path) -> None:
    up, go = tmp_path / "up", tmp_path / "go"

    async def scenario(children: Children) -> list[Ending]:
        first = request(prefix, "first", *shell(f"touch {up}; until test -e {go}; do :; done"))
        others = [request(prefix, f"{n}", "/bin/true") for n in range(5)]
        runs = [asyncio.create_task(children.run(r)) for r in (first, *others)]
        await until(up.exists)
        await children.recall()
        waiting = await asyncio.gather(*runs[1:])
        go.touch()
        return [await runs[0], *waiting, await children.run(request(prefix, "new", "/bin/true"))]

    first, *waiting, new = with_children(prefix, scenario, workers=1)

    assert finished(first).exit_code == finished(new).exit_code == 0
    assert waiting == [Stopped(started=False)] * 5


def test_a_recall_lasts_until_the_spawner_starts_nothing_more(prefix: str) -> None:
    async def scenario(children: Children) -> None:
        os.kill(spawner_of(prefix), signal.SIGSTOP)
        recall = asyncio.create_task(children.recall())
        assert not (await asyncio.wait((recall,), timeout=0.05))[0]
        os.kill(spawner_of(prefix), signal.SIGCONT)
        await recall

    with_children(prefix, scenario)


def test_a_recall_ends_with_a_spawner_that_dies(prefix: str) -> None:
    async def scenario(children: Children) -> None:
        os.kill(spawner_of(prefix), signal.SIGSTOP)
        recalls = [asyncio.create_task(children.recall()) for _ in range(2)]
        os.kill(spawner_of(prefix), signal.SIGKILL)
        await asyncio.gather(*recalls)

    with_children(prefix, scenario)


def test_a_spawner_that_stands_still_holds_up_no_recall_for_long(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(children: Children) -> None:
        os.kill(spawner_of(prefix), signal.SIGSTOP)
        await children.recall()
        os.kill(spawner_of(prefix), signal.SIGCONT)
        await children.recall()

    with_children(prefix, scenario)

    assert "did not say within" in caplog.text


def test_stopping_what_nobody_runs_does_nothing(prefix: str) -> None:
    with_children(prefix, lambda children: children.stop("nobody"))


def test_a_cancelled_caller_leaves_nothing_running(prefix: str) -> None:
    async def scenario(children: Children) -> None:
        run = asyncio.create_task(children.run(request(prefix, "one", *shell("exec sleep 600"))))
        await until(lambda: len(carriers(prefix)) == 2)
        run.cancel()
        await until(lambda: len(carriers(prefix)) == 1)

    with_children(prefix, scenario)


def test_closing_stops_what_runs_and_what_waits(prefix: str) -> None:
    async def main() -> list[Ending]:
        async with Children(1, prefix) as children:
            runs = [
                asyncio.create_task(children.run(request(prefix, f"{n}", *shell("exec sleep 600"))))
                for n in range(3)
            ]
            await until(lambda: len(carriers(prefix)) == 2)
        return await asyncio.gather(*runs)

    assert all(isinstance(ending, Stopped) for ending in asyncio.run(main()))
    assert carriers(prefix) == []


def test_a_run_after_closing_is_not_started(prefix: str) -> None:
    async def main() -> Ending:
        children = Children(1, prefix)
        async with children:
            pass
        return await children.run(request(prefix, "late", "/bin/true"))

    assert asyncio.run(main()) == Stopped(started=False)


# When one of the two sides dies.


def test_a_spawner_that_may_not_be_executed_is_told_as_that_and_not_as_a_limit(
    prefix: str, tmp_path: Path
) -> None:
    program = tmp_path / "jail"
    program.touch(mode=0o644)

    async def main() -> None:
        async with Children(1, prefix, Confinement(prefix=[str(program)])):
            pass

    with pytest.raises(CannotStart) as caught:
        asyncio.run(main())
    assert f"let the daemon's user execute {program}" in caught.value.hint
    assert "ulimit" not in caught.value.hint


@pytest.mark.parametrize("interpreter", ["/bin/false", "/nowhere/python"])
def test_a_spawner_that_cannot_start_stops_the_start(
    prefix: str, monkeypatch: pytest.MonkeyPatch, interpreter: str
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter)

    with pytest.raises(CannotStart, match="cannot be started"):
        run_one(prefix, "/bin/true")


def test_a_killed_spawner_takes_its_runs_along_and_is_replaced(prefix: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    async def scenario(children: Children) -> tuple[Ending, Ending, Ending]:
        daemon = " ".join(f"'{word}'" for word in python("leave_a_daemon.py", mark))
        lost = request(prefix, "lost", *shell(f"{daemon}; sleep 600"))
        waiting = request(prefix, "waiting", *shell("exec sleep 600"))
        runs = [asyncio.create_task(children.run(r)) for r in (lost, waiting)]
        await until(mark.exists)
        os.kill(spawner_of(prefix), signal.SIGKILL)
        first, second = await asyncio.gather(*runs)
        assert carriers(prefix) == []
        return first, second, await children.run(request(prefix, "next", *shell("exit 7")))

    first, second, after = with_children(prefix, scenario, workers=1)

    assert isinstance(first, SupervisorLost)
    assert "signal 9" in first.detail
    assert isinstance(second, SupervisorLost)
    assert finished(after).exit_code == 7
    assert not is_alive(int(mark.read_text()))


def test_a_deadline_weeks_away_is_waited_for(prefix: str) -> None:
    ending = run_one(prefix, *shell("exit 7"), timeout=timedelta(weeks=100).total_seconds())

    assert finished(ending).exit_code == 7


@pytest.mark.parametrize("interpreter", ["/nowhere/python", "/bin/false"])
def test_a_spawner_that_cannot_be_replaced_says_nothing_of_what_it_was_to_run(
    prefix: str, interpreter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(children: Children) -> Ending:
        lost = asyncio.create_task(children.run(request(prefix, "lost", *shell("exec sleep 600"))))
        await until(lambda: len(carriers(prefix)) == 2)
        monkeypatch.setattr(sys, "executable", interpreter)
        os.kill(spawner_of(prefix), signal.SIGKILL)
        await lost
        return await children.run(request(prefix, "next", *shell("exit 7")))

    assert isinstance(with_children(prefix, scenario), NoSupervisor)


def test_a_run_asked_for_during_recovery_can_be_stopped(prefix: str) -> None:
    async def scenario(children: Children) -> Ending:
        lost = asyncio.create_task(children.run(request(prefix, "lost", *shell("exec sleep 600"))))
        await until(lambda: len(carriers(prefix)) == 2)
        os.kill(spawner_of(prefix), signal.SIGKILL)
        await lost
        late = asyncio.create_task(children.run(request(prefix, "late", *shell("exec sleep 600"))))
        await asyncio.sleep(0)
        await children.stop("late")
        return await late

    assert isinstance(with_children(prefix, scenario), Stopped)


DAEMON = """
import asyncio, sys
from datetime import timedelta
from conductor_loop.adapters.porch.children import ChildRequest, Children

async def main(prefix, *argv):
    async with Children(2, prefix) as children:
        hour = timedelta(hours=1)
        token = f"CONDUCTOR_ATTEMPT={prefix}one".encode()
        argv = tuple(map(str.encode, argv))
        await children.run(ChildRequest("one", argv, (b"PATH=/usr/bin:/bin", token), hour, hour))

asyncio.run(main(*sys.argv[1:]))
"""


def test_nothing_survives_a_killed_daemon(prefix: str, tmp_path: Path) -> None:
    mark, program = tmp_path / "mark", tmp_path / "daemon.py"
    program.write_text(textwrap.dedent(DAEMON))
    stubborn = " ".join(f"'{word}'" for word in python("leave_a_daemon.py", mark, "clean"))
    argv = shell(f"trap '' TERM HUP; {stubborn}; sleep 600")
    with subprocess.Popen([sys.executable, program, prefix, *argv]) as daemon:
        wait_until(mark.exists)
        daemon.kill()

    wait_until(lambda: not carriers(prefix) and not is_alive(int(mark.read_text())))


def test_signals_meant_for_the_daemon_do_not_end_the_spawner(prefix: str) -> None:
    async def scenario(children: Children) -> Ending:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(spawner_of(prefix), number)
        return await children.run(request(prefix, "one", *shell("exit 0")))

    assert finished(with_children(prefix, scenario)).exit_code == 0


def test_the_spawner_keeps_nothing_of_the_daemon_open(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "lock").touch()

    async def scenario(_: Children) -> list[str]:
        folder = f"/proc/{spawner_of(prefix)}/fd"
        return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]

    with open(tmp_path / "lock") as lock:
        os.set_inheritable(lock.fileno(), True)
        names = with_children(prefix, scenario)

    assert str(tmp_path / "lock") not in names


def test_the_spawner_stays_small(prefix: str) -> None:
    """Modules that only its preparation needs must not stay, nor others creep in."""

    async def scenario(children: Children) -> str:
        await children.run(request(prefix, "one", "/bin/true"))
        return Path(f"/proc/{spawner_of(prefix)}/maps").read_text()

    maps = with_children(prefix, scenario)

    assert not [line for line in maps.splitlines() if "_ctypes" in line or "_json" in line]
