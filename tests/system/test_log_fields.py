"""The fields of JSON log lines: those of the Elastic Common Schema, and ours under `conductor.`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conductor_loop.core.traces import trace_id
from tests.otlp_receiver import receiving
from tests.system.daemon import LogLine, Site, intent, wait_until

ECS = {
    "@timestamp": str,
    "message": str,
    "ecs.version": str,
    "error.code": str,
    "error.message": str,
    "error.stack_trace": str,
    "error.type": str,
    "event.action": str,
    "event.dataset": str,
    "event.outcome": str,
    "file.name": str,
    "log.level": str,
    "log.logger": str,
    "process.pid": int,
    "service.name": str,
    "trace.id": str,
}
"""Names and types in the field reference of ECS (elastic.co/docs/reference/ecs)."""
OUTCOMES = {"success", "failure", "unknown"}
"""Allowed values of event.outcome in ECS."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def eventful(site: Site, *flags: str) -> list[LogLine]:
    """What a daemon logs, in detail, to which all sorts of things happen."""
    porch = site.porch("case $2 in *bad*) echo no >&2; exit 2;; *slow*) exit 75;; esac")
    site.hand_over_all(
        {
            "intent-good.json": intent("good", correlation_id="scale-1"),
            "intent-bad.json": intent("bad"),
            "intent-slow.json": intent("slow"),
            "intent-rejected.json": b"{}",
            "intent-\x1b[31m\n.json": intent("odd"),
            "other.txt": b"",
        }
    )
    os.symlink("/etc/hostname", site.handoff / "intent-link.json")
    with site.daemon(
        "-log-level", "debug", "-porch", porch, "-max-attempts", "2", *flags
    ) as daemon:
        site.wait_for_final(6)
        site.hand_over("intent-good.json", intent("good", correlation_id="scale-1"))
        site.wait_for_final(7)
        site.pause()
        site.resume()
        assert site.command("config", "reload").returncode == 0
        wait_until(lambda: daemon.has_said("settings read again"), "all is logged")
    return daemon.log()


def test_every_field_is_one_of_ecs_or_ours(site: Site) -> None:
    lines = eventful(site)
    assert len(lines) > 30
    for line in lines:
        for name, value in line.items():
            assert name in ECS or name.startswith("conductor."), line
            assert isinstance(value, ECS.get(name, str | int | float | bool)), line
        # What ECS's specification for loggers requires of every line, at its beginning.
        assert [*line][:4] == ["@timestamp", "log.level", "message", "ecs.version"]
    outcomes = {
        line["event.action"]: line.get("event.outcome") for line in lines if "event.action" in line
    }
    assert set(outcomes.values()) <= OUTCOMES | {None}
    assert outcomes["published"] == "success"
    assert outcomes["rejected"] == outcomes["failed"] == outcomes["quarantined"] == "failure"
    assert {"admitted", "started", "retry-scheduled", "paused", "resumed", "key_made"} <= {
        *outcomes
    }


def test_a_failure_is_found_by_its_code_and_file(site: Site) -> None:
    lines = eventful(site)
    (failed,) = (
        line
        for line in lines
        if line.get("event.action") == "failed" and line["file.name"] == "intent-bad.json"
    )
    assert failed["error.code"] == site.verdict("intent-bad.json")["error"]["code"]
    assert failed["conductor.intent.target"] == "oran-sim/bad"
    assert failed["conductor.attempt"] == 1
    assert "trace.id" not in failed


def test_with_traces_every_line_about_an_intent_names_its_trace(site: Site) -> None:
    with receiving() as receiver:
        site.environment |= {**receiver.environment, "OTEL_SERVICE_NAME": "edge-7"}
        lines = eventful(site, "-traces")
    about = [line for line in lines if "conductor.intent.id" in line]
    assert len(about) > 10
    assert all(line["trace.id"] == trace_id(line["conductor.intent.id"]) for line in about)
    # The same name as in the traces, or a collector could not put them side by side.
    assert {line["service.name"] for line in lines} == {"edge-7"}
