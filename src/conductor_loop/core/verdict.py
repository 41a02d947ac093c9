"""The verdict: what `status/NAME.status` says of an intent in a final state.

Fields and their meaning: docs/contracts/verdict.schema.json. The first seven are the original's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from conductor_loop.core.events import (
    Event,
    Failed,
    Failure,
    FailureKind,
    HandedBack,
    Output,
    Published,
    Quarantined,
    Rejected,
    RetryScheduled,
    Run,
    Skipped,
    SkipReason,
    Started,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.jws import FIELD, STATUS, Sign, detached_jws
from conductor_loop.core.legible import legible_line
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Entry
from conductor_loop.core.traces import trace_id
from conductor_loop.core.wording import (
    duration_text,
    rejection_message,
    skip_message,
    timestamp,
)

JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | int | bool | None
Document = dict[str, JsonValue]

SCHEMA_VERSION = 1
_PROCESSED_BY = "conductor-loop"
_OUTCOMES = {FailureKind.TIMEOUT: "timeout", FailureKind.CRASHED: "crashed"}


@dataclass(frozen=True, slots=True)
class Service:
    """What every verdict says of the daemon that wrote it."""

    conductor_version: str
    mode: str
    porch_path: str
    config_sha256: str
    is_traced: bool = False
    """Whether each intent has a trace."""


Ended = Published | Failed | TimedOut | Rejected | Quarantined | Skipped


@dataclass(frozen=True, slots=True)
class _Ending:
    """What only the last event tells."""

    status: str
    message: str
    run: Run | None = None
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    """Fields that stand before `config_sha256`."""
    result: Mapping[str, JsonValue] = field(default_factory=dict)
    """Fields that stand last: `outputs` or `error`."""


def build_verdict(history: Sequence[Entry], about: Service) -> Document | None:
    """Tell one intent's whole history, oldest entry first, as its verdict.

    None when there is none to give: it is a duplicate, or not in a final state.
    """
    last = history[-1]
    if not isinstance(last.event, Ended):
        return None
    ending = _ending(last.event)
    document: Document = {
        **_heading(last, ending, about),
        "schema_version": SCHEMA_VERSION,
        "conductor_version": about.conductor_version,
        **_origin(last, about),
        **_course(last, ending.run),
        "attempts": _attempts(history),
        **_present({"retry_of": last.retry_of}),
        **ending.details,
        "config_sha256": about.config_sha256,
        **_surroundings(ending.run),
        **ending.result,
    }
    return _all_cleaned(document)


def signed_verdict(document: Document, kid: str, sign: Sign) -> Document:
    """The verdict with its signature as its last field; see docs/verify.md."""
    return {**document, FIELD: detached_jws(document, STATUS, kid, sign)}


def encode_verdict(document: Mapping[str, JsonValue]) -> bytes:
    """Write a verdict for people and programs: indented UTF-8 JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _heading(last: Entry, ending: _Ending, about: Service) -> Document:
    assert last.receipt is not None
    return {
        "intent_file": shown(last.receipt.name),
        "status": ending.status,
        "message": ending.message,
        # Whole seconds, as the original writes it; `finished_at` has the rest.
        "timestamp": timestamp(last.at.replace(microsecond=0)),
        "processed_by": _PROCESSED_BY,
        "mode": about.mode,
        "porch_path": about.porch_path,
    }


def _origin(last: Entry, about: Service) -> Document:
    assert last.receipt is not None
    receipt = last.receipt
    return _present(
        {
            "intent_id": last.intent_id,
            "intent_sha256": receipt.digest,
            "intent_file_b64": _base64_if_escaped(receipt.name),
            "correlation_id": last.correlation_id,
            "trace_id": trace_id(last.intent_id or "") if about.is_traced else "",
            "target": str(last.target) if last.target else "",
            "submitted_by": receipt.submitted_by,
            "received_at": timestamp(receipt.received_at),
        }
    )


def _base64_if_escaped(name: bytes) -> str:
    if shown(name).encode() == name:
        return ""
    return base64.b64encode(name).decode("ascii")


def _course(last: Entry, run: Run | None) -> Document:
    finished: Document = {"finished_at": timestamp(last.at)}
    if run is None:
        return finished
    return {
        "started_at": timestamp(run.started_at),
        **finished,
        "processing_duration": duration_text(run.duration),
        "worker_id": run.worker,
    }


def _surroundings(run: Run | None) -> Document:
    if run is None:
        return {}
    return _present({"porch_sha256": run.porch_sha256, "sandbox": run.sandbox})


def _ending(event: Ended) -> _Ending:
    match event:
        case Published(run=run):
            text = f"Processed by worker {run.worker} in {duration_text(run.duration)}"
            return _Ending("success", text, run, result=_outputs(event))
        case Failed(failure=failure, run=run):
            return _Ending("failed", _said(failure), run, result={"error": _error(failure)})
        case TimedOut(run=run, failure=failure):
            return _Ending("timeout", _said(failure), run, result={"error": _error(failure)})
        case Rejected(faults=faults):
            error = {"error": _faults_error(faults)}
            return _Ending("failed", rejection_message(faults), result=error)
        case Quarantined(fault=fault):
            error = {"error": _faults_error((fault,))}
            return _Ending("failed", f"quarantined: {fault.message}", result=error)
        case Skipped():
            return _Ending("skipped", skip_message(event), details=_skip_details(event))
        case _ as never:
            assert_never(never)


def _skip_details(event: Skipped) -> Document:
    return _present(
        {
            "skip_reason": event.reason.value,
            "superseded_by": event.superseded_by,
            "cancelled_by": event.by or "unknown" if event.reason is SkipReason.CANCELLED else "",
        }
    )


def _outputs(event: Published) -> Document:
    notes: Document = {"notes": list(event.notes)} if event.notes else {}
    if event.outputs is None:
        return {
            "outputs": None,
            "outputs_unknown": event.outputs_unknown or "not reported",
            **notes,
        }
    return {"outputs": [_output(output) for output in event.outputs], **notes}


def _output(output: Output) -> Document:
    return {"path": output.path, "sha256": output.sha256}


def _error(failure: Failure) -> Document:
    return {
        "code": failure.code,
        "message": _said(failure),
        **_present({"hint": failure.hint}),
        "retryable": failure.kind is not FailureKind.PERMANENT,
        **_present(
            {
                "exit_code": failure.exit_code,
                "signal": failure.signal,
                "stdout": failure.stdout,
                "stderr": failure.stderr,
            }
        ),
    }


def _said(failure: Failure) -> str:
    return failure.message or failure.code


def _faults_error(faults: Sequence[Fault]) -> Document:
    return {
        "code": faults[0].code if faults else "rejected",
        "message": rejection_message(faults),
        **_present({"hint": faults[0].hint if faults else ""}),
        "retryable": False,
        "faults": [_fault(fault) for fault in faults],
    }


def _fault(fault: Fault) -> Document:
    return {
        "code": fault.code,
        "message": fault.message,
        "pointer": fault.pointer,
        **_present({"hint": fault.hint}),
    }


def _attempts(history: Sequence[Entry]) -> list[JsonValue]:
    attempts: list[JsonValue] = []
    started: int | None = None
    for entry in history:
        if isinstance(entry.event, Started):
            started = entry.event.attempt
            continue
        attempt = _attempt(entry.event, started)
        if attempt is not None:
            attempts.append(attempt)
            started = None
    return attempts


def _attempt(event: Event, started: int | None) -> Document | None:
    match event:
        case Published(run=run):
            return _run(run, "success", None)
        case RetryScheduled(run=run, failure=failure) | TimedOut(run=run, failure=failure):
            return _run(run, _outcome(failure), failure)
        case Failed(run=Run() as run, failure=failure):
            return _run(run, _outcome(failure), failure)
        case Failed(failure=failure) if started is not None:
            return {"number": started, "outcome": _outcome(failure), **_exit_code(failure)}
        case HandedBack(attempt=number, cause=cause, failure=failure):
            return {
                "number": number,
                "outcome": "handed_back",
                "cause": cause,
                **_exit_code(failure),
            }
        case Skipped() if started is not None:
            return {"number": started, "outcome": "stopped"}
        case _:
            return None


def _run(run: Run, outcome: str, failure: Failure | None) -> Document:
    return {
        "number": run.attempt,
        "outcome": outcome,
        **_exit_code(failure),
        "started_at": timestamp(run.started_at),
        "duration": duration_text(run.duration),
    }


def _outcome(failure: Failure) -> str:
    return _OUTCOMES.get(failure.kind, "failed")


def _exit_code(failure: Failure | None) -> Document:
    return _present({"exit_code": failure.exit_code}) if failure else {}


def _present(fields: Document) -> Document:
    """Leave out what is unknown; 0 and False are known."""
    return {key: value for key, value in fields.items() if value is not None and value != ""}


def _all_cleaned(document: Document) -> Document:
    # One place for all fields, so that none is forgotten: canonical JSON as jq and as RFC 8785
    # have it differ in U+007F, and a lone surrogate is no JSON at all.
    try:
        data = msgspec.json.encode(document)
        if b"\\" not in data and data.decode().isprintable():
            return document  # nearly every verdict, told in one look instead of one for each field
    except UnicodeEncodeError:  # a lone surrogate
        pass
    return {key: _cleaned(value) for key, value in document.items()}


def _cleaned(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return legible_line(value)
    if isinstance(value, dict):
        return {key: _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value
