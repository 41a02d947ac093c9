"""The table of the contract: what the end of a porch command means."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conductor_loop.core.events import FailureKind
from conductor_loop.core.porch_exit import PorchExit, failure_of, not_started


def ended(
    code: int | None,
    signal: int | None = None,
    *,
    timed_out: bool = False,
    stdout: str = "",
    stderr: str = "",
) -> PorchExit:
    return PorchExit(code, signal, timed_out, timedelta(seconds=90), stdout, stderr)


def test_exit_0_is_no_failure() -> None:
    assert failure_of(ended(0)) is None


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        (1, FailureKind.PERMANENT, "porch_invalid_intent"),
        (2, FailureKind.PERMANENT, "porch_target_not_found"),
        (3, FailureKind.TEMPORARY, "porch_not_permitted"),
        (4, FailureKind.TEMPORARY, "porch_network"),
        (5, FailureKind.TEMPORARY, "porch_quota"),
        (6, FailureKind.PERMANENT, "porch_failed"),
        (75, FailureKind.TEMPORARY, "porch_temporary"),
        (123, FailureKind.PERMANENT, "porch_failed"),
        (124, FailureKind.TIMEOUT, "porch_timeout"),
        (125, FailureKind.ENVIRONMENT, "porch_unusable"),
        (126, FailureKind.ENVIRONMENT, "porch_unusable"),
        (127, FailureKind.ENVIRONMENT, "porch_unusable"),
        (128, FailureKind.PERMANENT, "porch_failed"),
        (130, FailureKind.PERMANENT, "porch_failed"),
        (255, FailureKind.PERMANENT, "porch_failed"),
    ],
)
def test_each_exit_code_has_its_meaning(code: int, kind: FailureKind, name: str) -> None:
    failure = failure_of(ended(code))

    assert failure is not None
    assert (failure.kind, failure.code, failure.exit_code) == (kind, name, code)
    assert f"(exit {code})" in failure.message
    assert failure.hint


@pytest.mark.parametrize(
    ("number", "said"), [(9, "SIGKILL (signal 9)"), (11, "SIGSEGV (signal 11)"), (64, "signal 64")]
)
def test_death_by_a_signal_is_a_crash(number: int, said: str) -> None:
    failure = failure_of(ended(None, number))

    assert failure is not None
    assert (failure.kind, failure.code) == (FailureKind.CRASHED, "porch_crashed")
    assert (failure.signal, failure.exit_code) == (number, None)
    assert failure.message == f"porch was killed by {said}"


@pytest.mark.parametrize(("code", "signal"), [(0, None), (1, None), (None, 15), (None, 9)])
def test_our_deadline_outweighs_what_porch_answered(code: int | None, signal: int | None) -> None:
    failure = failure_of(ended(code, signal, timed_out=True))

    assert failure is not None
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.message == "porch did not end within 1m30s and was stopped"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_object_that_somebody_else_changed_is_tried_again(stream: str) -> None:
    said = 'Operation cannot be fulfilled on "x": the object has been modified; please apply'
    porch = ended(1, stdout=said) if stream == "stdout" else ended(1, stderr=said)

    failure = failure_of(porch)

    assert failure is not None
    assert (failure.kind, failure.code) == (FailureKind.TEMPORARY, "porch_conflict")


def test_the_message_ends_with_the_last_line_of_the_errors() -> None:
    failure = failure_of(ended(2, stdout="fine so far", stderr="warning: x\nno such target\n\n"))

    assert failure is not None
    assert failure.message == "porch did not find the target (exit 2): no such target"
    assert (failure.stdout, failure.stderr) == ("fine so far", "warning: x\nno such target\n\n")


def test_an_endless_last_line_is_cut() -> None:
    failure = failure_of(ended(1, stderr="x" * 100_000))

    assert failure is not None
    assert len(failure.message) < 300


def test_a_porch_that_cannot_be_started_is_the_environment() -> None:
    failure = not_started("/opt/porch", "Permission denied")

    assert (failure.kind, failure.code) == (FailureKind.ENVIRONMENT, "porch_cannot_start")
    assert "/opt/porch: Permission denied" in failure.message


LIMITS = {
    "sh: 1: Cannot fork": "child.processes",
    "bash: fork: retry: Resource temporarily unavailable": "child.processes",
    "runtime: failed to create new OS thread (have 9 already; errno=11)": "child.processes",
    "open x: too many open files": "child.files",
    "OSError: [Errno 27] File too large": "child.file-size",
    "runtime: out of memory: cannot allocate 4194304-byte block": "child.memory",
    "MemoryError": "child.memory",
}


@pytest.mark.parametrize("said", LIMITS)
def test_row_33_a_limit_that_porch_complains_of_is_no_fault_of_the_intent(said: str) -> None:
    failure = failure_of(ended(2, stderr=said))

    assert failure is not None
    assert (failure.kind, failure.code) == (FailureKind.TEMPORARY, "porch_limit")
    assert LIMITS[said] in failure.hint


@pytest.mark.parametrize(("number", "setting"), [(24, "child.cpu"), (25, "child.file-size")])
def test_row_33_a_signal_that_means_a_limit_names_it(number: int, setting: str) -> None:
    failure = failure_of(ended(None, number))

    assert failure is not None
    assert (failure.kind, failure.code) == (FailureKind.CRASHED, "porch_limit")
    assert setting in failure.hint
