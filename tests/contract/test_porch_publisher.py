"""The porch command as a publisher, with real programs in its place."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.porch.orphans import end_leftovers, token_prefix
from conductor_loop.adapters.porch.program import resolve_porch
from conductor_loop.adapters.porch.publisher import PorchPublisher, PorchSection, open_porch
from conductor_loop.core.arrival import Abandoned, Delivered, Lease, Outcome, Undelivered
from conductor_loop.core.events import Failure, FailureKind
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.intent import Target
from conductor_loop.core.packages import Mode
from conductor_loop.core.sandbox import SandboxChoice
from tests.sandboxes import sandbox
from tests.system.child_processes import PATIENCE, PORCHES

T = TypeVar("T")
Scenario = Callable[[PorchPublisher], Awaitable[T]]
BODY = b'{"intent_type": "scaling"}\n'
SHOW = f'exec "{sys.executable}" -I -S "{PORCHES}/show_itself.py" "$@"'


class Bench:
    """A state folder, OUT, and a porch that is whatever a test writes."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.porch = tmp_path / "bin" / "porch"
        self.section = PorchSection(
            porch=str(self.porch),
            out=tmp_path / "out",
            state=tmp_path / "state",
            mode=Mode.DIRECT,
            workers=2,
            grace=timedelta(seconds=PATIENCE),
            environment={},
            sandbox=sandbox(read=(PORCHES,), write=(tmp_path,)),
        )
        for folder in (self.porch.parent, self.section.out, self.section.state):
            folder.mkdir()
        self.write("exit 0")

    def write(self, script: str) -> None:
        self.porch.write_text(f"#!/bin/sh\n{script}\n")
        self.porch.chmod(0o755)

    def choose(self, *, mode: Mode = Mode.DIRECT, environment: Mapping[str, str] = {}) -> None:
        self.section = replace(self.section, mode=mode, environment=environment)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PorchPublisher]:
        state = os.open(self.section.state, os.O_RDONLY)
        try:
            end_leftovers(state)
            async with open_porch(self.section, state, SystemClock()) as publisher:
                async with asyncio.timeout(PATIENCE):
                    yield publisher
        finally:
            os.close(state)

    def run(self, scenario: Scenario[T]) -> T:
        async def main() -> T:
            async with self.open() as publisher:
                return await scenario(publisher)

        return asyncio.run(main())

    def publish(self, given: Lease | None = None) -> Outcome:
        return self.run(lambda publisher: publisher.publish(given or lease()))


def lease(name: bytes = b"intent-a.json", timeout: float = PATIENCE, attempt: int = 1) -> Lease:
    return Lease(
        intent_id=f"01J00000000000000000000{attempt:03d}",
        name=name,
        attempt=attempt,
        target=Target("ns", "app"),
        body=BODY,
        timeout=timedelta(seconds=timeout),
    )


def failure(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Undelivered), outcome
    return outcome.failure


def seen_by_porch(bench: Bench, given: Lease | None = None) -> dict[str, object]:
    """What a porch was started with, told through a failure because success has no output."""
    bench.write(f"{SHOW}; exit 1".replace("exec ", ""))
    seen: dict[str, object] = json.loads(failure(bench.publish(given)).stdout)
    return seen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# What porch is given.


def test_porch_gets_absolute_paths_and_the_name_that_was_handed_over(bench: Bench) -> None:
    arguments = seen_by_porch(bench)["arguments"]

    assert isinstance(arguments, list)
    copy = Path(arguments[1])
    assert copy.is_absolute()
    assert (copy.parent.name, copy.name) == ("01J00000000000000000000001.1", "intent-a.json")
    assert arguments == ["-intent", str(copy), "-out", str(bench.section.out)]


def test_structured_mode_is_a_flag_at_the_end(bench: Bench) -> None:
    bench.choose(mode=Mode.STRUCTURED)

    arguments = seen_by_porch(bench)["arguments"]

    assert isinstance(arguments, list)
    assert arguments[-1] == "-structured"


def test_porch_reads_exactly_the_bytes_of_the_lease(bench: Bench) -> None:
    bench.write('cp "$2" "$4/copy"; stat -c %a "$2" "$(dirname "$2")" > "$4/modes"')

    assert isinstance(bench.publish(), Delivered)

    assert (bench.section.out / "copy").read_bytes() == BODY
    assert (bench.section.out / "modes").read_text().split() == ["644", "700"]


@pytest.mark.parametrize(
    "name",
    [
        b"intent-a\nb.json",
        b"intent-\xff\xfe.json",
        b"intent- $(id) ; 'x' \".json",
        b"intent-\x1b[31m.json",
        b"intent-" + b"x" * 243 + b".json",
    ],
)
def test_odd_names_reach_porch_as_they_are(bench: Bench, name: bytes) -> None:
    bench.write('cat "$2" > "$4/seen"; basename -z "$2" > "$4/name"')

    assert isinstance(bench.publish(lease(name)), Delivered)

    assert (bench.section.out / "seen").read_bytes() == BODY
    assert (bench.section.out / "name").read_bytes() == name + b"\0"


def test_the_environment_is_a_clean_minimum(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "PYTHONPATH", "AWS_SECRET_ACCESS_KEY", "https_proxy", "KUBECONFIG"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    seen = seen_by_porch(bench)

    environment = seen["environment"]
    assert isinstance(environment, dict)
    allowed = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CONDUCTOR_ATTEMPT"}
    # The shell that plays porch sets PWD itself, Python LC_CTYPE.
    assert set(environment) - {"PWD", "LC_CTYPE"} <= allowed | {"CONDUCTOR_INTENT_ID"}
    assert environment["CONDUCTOR_INTENT_ID"] == "01J00000000000000000000001"
    assert environment["CONDUCTOR_ATTEMPT"].endswith(":01J00000000000000000000001.1")
    assert seen["stdin"] == "/dev/null"
    assert seen["descriptors"] == [0, 1, 2]


def test_the_operator_may_add_variables_but_not_replace_ours(bench: Bench) -> None:
    bench.choose(environment={"KUBECONFIG": "/etc/k", "TZ": "Asia/X", "CONDUCTOR_ATTEMPT": "mine"})

    environment = seen_by_porch(bench)["environment"]

    assert isinstance(environment, dict)
    assert (environment["KUBECONFIG"], environment["TZ"]) == ("/etc/k", "Asia/X")
    assert environment["CONDUCTOR_ATTEMPT"] != "mine"


# What comes of it.


def test_success_says_who_when_and_that_outputs_are_unknown(bench: Bench) -> None:
    outcome = bench.publish()

    assert isinstance(outcome, Delivered)
    assert (outcome.worker, outcome.outputs) == (0, None)
    assert outcome.outputs_unknown == "porch writes into a shared folder"
    assert outcome.duration > timedelta(0)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("exit 1", FailureKind.PERMANENT),
        ("exit 2", FailureKind.PERMANENT),
        ("exit 4", FailureKind.TEMPORARY),
        ("exit 75", FailureKind.TEMPORARY),
        ("echo 'the object has been modified' >&2; exit 1", FailureKind.TEMPORARY),
        ("exit 124", FailureKind.TIMEOUT),
        ("exit 127", FailureKind.ENVIRONMENT),
        ("exit 130", FailureKind.PERMANENT),
        ("kill -SEGV $$", FailureKind.CRASHED),
        ("kill -KILL $$", FailureKind.CRASHED),
    ],
)
def test_the_end_of_porch_is_judged_by_the_contract(
    bench: Bench, script: str, kind: FailureKind
) -> None:
    bench.write(script)

    assert failure(bench.publish()).kind is kind


def test_a_porch_past_its_deadline_is_a_timeout_whatever_it_exits_with(bench: Bench) -> None:
    bench.write("trap 'exit 0' TERM; while :; do sleep 0.01; done")

    ended = failure(bench.publish(lease(timeout=0.3)))

    assert (ended.kind, ended.code) == (FailureKind.TIMEOUT, "porch_timeout")
    assert "300ms" in ended.message


def test_output_of_a_failure_is_fit_to_be_shown(bench: Bench) -> None:
    bench.write(r"printf '\033[31mred\033[0m \377\n'; printf 'bad\007\n' >&2; exit 2")

    ended = failure(bench.publish())

    assert (ended.stdout, ended.stderr) == ("red \ufffd\n", "bad\\x07\n")


def test_a_porch_that_vanished_is_the_environment(bench: Bench) -> None:
    async def scenario(publisher: PorchPublisher) -> list[Outcome]:
        before = await publisher.publish(lease(attempt=1))
        bench.porch.unlink()
        gone = await publisher.publish(lease(attempt=2))
        bench.write("exit 0")
        return [before, gone, await publisher.publish(lease(attempt=3))]

    before, gone, after = bench.run(scenario)

    assert isinstance(before, Delivered)
    assert (failure(gone).kind, failure(gone).code) == (
        FailureKind.ENVIRONMENT,
        "porch_cannot_start",
    )
    assert isinstance(after, Delivered)


def test_a_stopped_attempt_is_abandoned(bench: Bench) -> None:
    bench.write('touch "$4/up"; sleep 600')

    async def scenario(publisher: PorchPublisher) -> Outcome:
        run = asyncio.create_task(publisher.publish(lease()))
        while not (bench.section.out / "up").exists():  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.005)
        await publisher.stop(lease().intent_id)
        return await run

    assert bench.run(scenario) == Abandoned("shutdown")


def test_an_attempt_stopped_before_its_turn_never_ran(bench: Bench) -> None:
    async def scenario(publisher: PorchPublisher) -> Outcome:
        run = asyncio.create_task(publisher.publish(lease()))
        await asyncio.sleep(0)
        await publisher.stop(lease().intent_id)
        return await run

    assert bench.run(scenario) in (Abandoned("not_run"), Abandoned("shutdown"))


# The private copy.


def test_no_copy_stays_behind_whatever_porch_leaves_beside_it(bench: Bench) -> None:
    bench.write(
        'd=$(dirname "$2"); echo "$d" > "$4/where"; mkdir "$d/sub"; touch "$d/sub/x" "$2.bak"'
    )

    assert isinstance(bench.publish(), Delivered)

    assert not Path((bench.section.out / "where").read_text().strip()).exists()


def test_copies_of_a_dead_daemon_are_removed_at_start(bench: Bench) -> None:
    spool = bench.section.state / "spool"
    spool.mkdir(0o700)
    (spool / "01J.1").mkdir()
    (spool / "01J.1" / "intent-old.json").write_bytes(BODY)

    async def scenario(_: PorchPublisher) -> bool:
        return (spool / "01J.1").exists()

    assert not bench.run(scenario)


def test_no_room_for_the_copy_is_the_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def scenario(publisher: PorchPublisher) -> tuple[Outcome, Outcome]:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            refused = await publisher.publish(lease())
        return refused, await publisher.publish(lease())

    refused, after = bench.run(scenario)

    assert (failure(refused).kind, failure(refused).code) == (
        FailureKind.ENVIRONMENT,
        "spool_no_room",
    )
    assert isinstance(after, Delivered)


def test_without_a_sandbox_a_folder_that_took_the_place_of_out_will_do(bench: Bench) -> None:
    unconfined = replace(bench.section.sandbox, choice=SandboxChoice.NONE)
    bench.section = replace(bench.section, sandbox=unconfined)
    bench.write('echo done > "$4/mark"')

    async def scenario(publisher: PorchPublisher) -> tuple[Outcome, Outcome]:
        bench.section.out.rmdir()
        missing = await publisher.publish(lease())
        bench.section.out.mkdir()
        return missing, await publisher.publish(lease(attempt=2))

    missing, after = bench.run(scenario)

    assert (failure(missing).kind, failure(missing).code) == (
        FailureKind.ENVIRONMENT,
        "out_replaced",
    )
    assert "make it again" in failure(missing).hint
    assert isinstance(after, Delivered)
    assert (bench.section.out / "mark").exists()


def test_what_fails_because_out_was_taken_away_meanwhile_is_no_fault_of_the_intent(
    bench: Bench,
) -> None:
    bench.write('mv "$4" "$4-old"; exit 1')

    outcome = bench.publish()

    assert failure(outcome).code == "out_replaced"


# Start and end.


def test_output_can_be_settled(bench: Bench) -> None:
    async def scenario(publisher: PorchPublisher) -> None:
        await publisher.publish(lease())
        await publisher.settle_output()

    bench.run(scenario)


def test_what_an_earlier_daemon_left_running_is_ended_at_start(bench: Bench) -> None:
    state = os.open(bench.section.state, os.O_RDONLY)
    environment = {"CONDUCTOR_ATTEMPT": f"{token_prefix(state)}01J.1"}
    os.close(state)

    async def scenario(_: PorchPublisher) -> int:
        return orphan.wait(PATIENCE)

    with subprocess.Popen(["/bin/sleep", "600"], env=environment) as orphan:
        assert bench.run(scenario) == -signal.SIGKILL


def test_a_missing_out_folder_is_refused(bench: Bench) -> None:
    bench.section.out.rmdir()

    with pytest.raises(CannotStart, match=str(bench.section.out)):
        bench.publish()


def test_a_missing_porch_is_refused_in_the_words_of_the_original(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CannotStart) as refused:
        resolve_porch("porch")

    assert refused.value.message.endswith(
        'porch validation failed: exec: "porch": executable file not found in $PATH'
    )
    assert "-porch builtin" in refused.value.hint


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.touch(0o644), "permission denied"),
        (lambda path: os.mkfifo(path, 0o755), "permission denied"),
    ],
)
def test_a_path_that_cannot_be_run_is_refused(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(tmp_path / "porch")

    with pytest.raises(CannotStart, match=f'exec: "{tmp_path}/porch": .*{reason}'):
        resolve_porch(f"{tmp_path}/porch")


def test_a_name_is_looked_for_on_path_but_never_in_the_working_folder(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.porch.parent)
    monkeypatch.setenv("PATH", ":.:/nowhere")
    with pytest.raises(CannotStart):
        resolve_porch("porch")
    monkeypatch.setenv("PATH", f"/nowhere:{bench.porch.parent}")

    assert resolve_porch("porch").path == os.fsencode(bench.porch)


def test_a_relative_path_becomes_absolute_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.path)
    command = resolve_porch("bin/porch")
    monkeypatch.chdir("/")

    assert command.path == os.fsencode(bench.porch)


@pytest.mark.parametrize("script", ["exit 0", "exit 1"])
def test_every_outcome_says_which_porch_it_was(bench: Bench, script: str) -> None:
    bench.write(script)

    outcome = bench.publish()

    assert isinstance(outcome, Delivered | Undelivered)
    assert outcome.porch_sha256 == hashlib.sha256(bench.porch.read_bytes()).hexdigest()


def test_the_hash_of_porch_follows_the_file(bench: Bench) -> None:
    command = resolve_porch(str(bench.porch))
    first = command.sha256()
    assert command.sha256() == first
    bench.write("exit 1")
    second = command.sha256()
    bench.porch.unlink()

    assert len(first) == len(second) == 64
    assert first != second
    assert command.sha256() == ""
