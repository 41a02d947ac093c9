"""The text beside a failed file: enough to know what to do, and nothing that could mislead."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.error_log import compose_error_log, intent_of
from conductor_loop.core.events import (
    Event,
    Failed,
    Failure,
    FailureKind,
    Receipt,
    Rejected,
    Started,
)
from conductor_loop.core.faults import Fault
from tests.fakes_catalog import CatalogInMemory
from tests.handoff_folder import (
    BAD_EXIT,
    NAME,
    RUN,
    TIMED_OUT,
    admitted,
    id_of,
    rejected,
)


def _log(*events: Event) -> str:
    catalog = CatalogInMemory()
    for event in events:
        entry = catalog.record(id_of(1), event)
    return compose_error_log(entry)


def _failed(name: bytes = NAME, failure: Failure = BAD_EXIT) -> str:
    return _log(admitted(name), Started(1), Failed(failure, RUN))


def test_a_failure_is_told_from_what_to_next_step() -> None:
    assert _failed() == (
        f"""\
Intent {id_of(1)} failed.
porch exited with 2

Where
  file:           intent-scale-up-001.json
  target:         oran-sim/cnf-simulator
  correlation id: scale-2024-001
  handed over:    2026-03-01T10:30:00Z by planner
  SHA-256:        2ddb8a40bc089b3070b144ca238b4cf7f886b372f9f6bb3d00a684002ac458c7
  attempt:        1, by worker 0, started 2026-03-01T10:30:00Z, took 2.5s
  ended:          2026-03-01T10:30:03Z

Why
  code:           porch_exit
  exit code:      2
  reason:         the intent itself: the same file will fail again

Next step
  the target does not exist
  correct the file and hand it over again
  or, once what refused it was changed:   conductor-loop retry intent-scale-up-001.json
  its whole history:       conductor-loop why {id_of(1)}

What it wrote to stderr

no such target
"""
    )


def test_a_rejection_lists_every_fault_with_its_place_and_hint() -> None:
    assert _log(rejected()).endswith(
        f"""
Why
  /replicas: must be from 0 to 100 [replicas_out_of_range]
      hint: lower it
  /colour: is not part of the contract [unknown_field]

Next step
  correct the file and hand it over again, under this or another name
  its whole history:       conductor-loop why {id_of(1)}
"""
    )


def test_a_fault_of_the_whole_file_says_so() -> None:
    fault = Fault("too_large", "has 11 MiB, and 10 MiB are allowed")
    log = _log(Rejected(Receipt(NAME, RUN.started_at), (fault,)))
    assert "the whole file: has 11 MiB, and 10 MiB are allowed [too_large]" in log
    assert "SHA-256" not in log


def test_what_may_pass_by_itself_is_to_be_run_again_as_it_is() -> None:
    log = _failed(failure=Failure(FailureKind.TEMPORARY, "c", "m"))
    assert "  run it again as it is:   conductor-loop retry intent-scale-up-001.json\n" in log


def test_a_timeout_is_called_one() -> None:
    log = _log(admitted(), Started(1), TIMED_OUT)
    assert log.startswith(f"Intent {id_of(1)} timed out.\nporch ran longer than 30s\n")


def test_a_failure_without_a_run_tells_of_no_attempt() -> None:
    crash = Failure(FailureKind.CRASHED, "crashed_too_often", "the daemon died three times")
    assert "attempt:" not in _log(admitted(), Started(1), Failed(crash))


def test_death_by_a_signal_is_told() -> None:
    killed = Failure(FailureKind.CRASHED, "signal", "killed by SIGSEGV", signal=11)
    assert "  signal:         11\n" in _failed(failure=killed)


def test_the_output_of_the_child_keeps_its_lines_but_moves_no_cursor() -> None:
    noisy = Failure(FailureKind.PERMANENT, "c", "m", stdout="a\n\tb\n", stderr="\x1b[2Jc\r\n")
    log = _failed(failure=noisy)
    assert "What it wrote to stdout\n\na\n\tb\n\nWhat it wrote to stderr\n\n" in log
    assert log.endswith("\\x1b[2Jc\\r\n")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (b"intent-a.json", "intent-a.json"),
        (b"intent-1_2@3.json", "intent-1_2@3.json"),
        (b"intent-two words.json", id_of(1)),
        (b"intent-$(reboot).json", id_of(1)),
        (b"intent-';x.json", id_of(1)),
        (b"intent-*.json", id_of(1)),
        (b"intent-\n.json", id_of(1)),
        (b"intent-\xff.json", id_of(1)),
        ("intent-ü.json".encode(), id_of(1)),
        (b"intent-a\\b.json", id_of(1)),
    ],
)
def test_the_retry_command_can_be_pasted_as_it_stands(name: bytes, word: str) -> None:
    line = next(line for line in _failed(name).splitlines() if "conductor-loop retry" in line)
    command = line.split(":   ", 1)[1]
    echoed = subprocess.run(
        ["sh", "-c", command.replace("conductor-loop", "printf '%s|'")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert echoed.stdout == f"retry|{word}|"


def test_the_intent_of_a_log_is_read_back() -> None:
    for log in (_failed(), _log(rejected()), _log(admitted(), Started(1), TIMED_OUT)):
        assert intent_of(log.encode()) == id_of(1)


@pytest.mark.parametrize("data", [b"", b"Intent ", b"Intent short failed", b"no log of ours\n"])
def test_a_foreign_log_belongs_to_no_intent(data: bytes) -> None:
    assert intent_of(data) == ""


_Texts = st.text(max_size=40)


@given(_Texts, _Texts, _Texts, st.binary(min_size=1, max_size=40))
def test_foreign_text_adds_no_line_above_the_output(
    message: str, hint: str, pointer: str, name: bytes
) -> None:
    def both(name: bytes, message: str, hint: str, pointer: str) -> tuple[str, str]:
        failure = Failure(FailureKind.TEMPORARY, "code", message, hint)
        fault = Fault("code", message, hint, pointer)
        refusal = Rejected(Receipt(name, RUN.started_at), (fault,))
        return _failed(name, failure), _log(refusal)

    failed, refused = both(name, message, hint, pointer)
    plain = both(b"intent-a.json", "m", hint and "h", "/p")
    assert (failed.count("\n"), refused.count("\n")) == tuple(t.count("\n") for t in plain)
    for text in (failed, refused):
        assert all(line.isprintable() for line in text.split("\n"))
        assert intent_of(text.encode()) == id_of(1)
