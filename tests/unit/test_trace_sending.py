"""The sender beside the library: whatever an exporter raises is a failure like any other."""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from requests import ConnectionError as NobodyThere

from conductor_loop.core.events import Published, Started
from conductor_loop.core.traces import Trace, trace_of
from conductor_loop.tracing.opening import open_sender
from tests.fakes_catalog import CatalogInMemory
from tests.handoff_folder import RUN, admitted, id_of
from tests.otlp_receiver import receiving


def trace() -> Trace:
    catalog = CatalogInMemory()
    for event in (admitted(), Started(1), Published(RUN)):
        catalog.record(id_of(1), event)
    return trace_of(catalog.history(id_of(1)))


def test_what_an_exporter_raises_is_why_nothing_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_1_30_does_without_a_collector(*_: object) -> None:
        raise NobodyThere("connection refused by collector-7")

    with receiving() as receiver:
        for name, value in receiver.environment.items():
            monkeypatch.setenv(name, value)
        sender = open_sender("test")
        kept = sender.kept([trace()])
        with monkeypatch.context() as patched:
            patched.setattr(OTLPSpanExporter, "export", as_1_30_does_without_a_collector)
            assert not sender.send(kept)
        assert sender.failing == "connection refused by collector-7"
        assert sender.send(kept)
        assert not sender.failing
        assert len(receiver.spans()) == len(kept.spans) == 5


def test_a_header_that_the_library_quotes_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    # A name with a space in it: the library quotes the whole header, and goes on without.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x tenant=hunter2")
    complaints = open_sender("test").complaints
    assert complaints
    assert "hunter2" not in "".join(complaints)
