"""Records as OCSF events, judged by the published schema."""

from __future__ import annotations

import itertools
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import conductor_loop
from conductor_loop.core.audit.ocsf import ocsf_line
from conductor_loop.core.audit.records import AuditRecord, own_record, record_of
from conductor_loop.core.events import Event, Noticed
from conductor_loop.core.records import Entry
from conductor_loop.core.security_events import KINDS, Severity
from tests.fakes import BEGINNING
from tests.ocsf_schema import faults
from tests.unit.test_events import EVENTS, values

_LATER = BEGINNING + timedelta(days=1)
_PROJECTION = Path(conductor_loop.__file__).parent / "projections/audit/log.py"
# What the log says of itself, as the one module that writes it names it.
OWN = sorted({*re.findall(r'"(log\.\w+)"', _PROJECTION.read_text()), "log.gap"})


def _faults(record: AuditRecord) -> list[str]:
    return faults(json.loads(ocsf_line(record)))


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_every_event_of_the_journal_is_as_the_schema_says(
    kind: type[Event], data: st.DataObject
) -> None:
    event = data.draw(values(kind))
    assert isinstance(event, get_args(Event))
    assert _faults(record_of(Entry(1, _LATER, event, "01J"))) == []


@pytest.mark.parametrize(("code", "severity"), list(itertools.product(KINDS, Severity)))
def test_every_security_event_of_every_severity_is_as_the_schema_says(
    code: str, severity: Severity
) -> None:
    event = Noticed(code, severity, "subject", {"why": "because"}, "uid 7")
    assert _faults(record_of(Entry(1, _LATER, event))) == []


@pytest.mark.parametrize("action", OWN)
def test_every_record_about_the_log_itself_is_as_the_schema_says(action: str) -> None:
    assert len(OWN) > 5
    assert _faults(own_record(action, 7, _LATER, {"after": "nothing", "cut_bytes": 0})) == []


def test_a_finding_is_new_and_tells_the_outcome_as_it_was_recorded() -> None:
    event = Noticed("symlink_seen", Severity.HIGH, "intent-x.json", {})
    told = json.loads(ocsf_line(record_of(Entry(1, _LATER, event))))
    assert (told["class_uid"], told["severity_id"]) == (2004, 4)
    assert (told["status_id"], told["status"]) == (1, "New")
    assert told["unmapped"]["outcome"] == "failure"


def test_a_field_that_the_schema_does_not_know_is_found() -> None:
    event = json.loads(ocsf_line(own_record("log.closed", 7, _LATER, {})))
    assert any("surprise" in fault for fault in faults({**event, "surprise": 1}))
