"""Traces handed to the SDK of OpenTelemetry, which knows the settings and the wire.

Endpoint, headers, certificates, sampler, resource: the standard `OTEL_*` variables.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, SpanContext, SpanKind, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from conductor_loop.core.traces import Span, Trace, root_of, trace_id
from conductor_loop.tracing.complaints import Complaints, said_by

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {"intent": SpanKind.CONSUMER, "attempt": SpanKind.CLIENT}
_LIBRARY = "opentelemetry"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the sampler keeps of some traces."""

    spans: Sequence[ReadableSpan]

    @property
    def count(self) -> int:
        """How many traces it is; each has one root."""
        return sum(span.parent is None for span in self.spans)


class Sender:
    """Sends traces, one request a call."""

    def __init__(self, version: str) -> None:
        self.failing = ""
        """Why the last ones could not be sent; empty when they were."""
        self._complaints = Complaints()
        logger = logging.getLogger(_LIBRARY)
        logger.addHandler(self._complaints)
        logger.propagate = False
        self._ids = _GivenIds()
        self._ended = _Ended()
        provider = TracerProvider(
            resource=_resource(version), id_generator=self._ids, shutdown_on_exit=False
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("conductor_loop", version)
        self._exporter = OTLPSpanExporter()
        self.complaints = self._complaints.take()
        """What the SDK does not understand of its settings, and goes on without."""

    def kept(self, traces: Iterable[Trace]) -> Kept:
        """What the sampler keeps of them."""
        for trace in traces:
            self._replay(trace)
        return Kept(self._ended.take())

    def send(self, kept: Kept) -> bool:
        """Send them; whether they arrived."""
        self._complaints.take()
        self.failing = self._try(kept.spans)
        return not self.failing

    def _try(self, spans: Sequence[ReadableSpan]) -> str:
        """Why they did not arrive; empty when they did."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001  its releases differ in what they catch themselves
            return said_by(error)
        if result is SpanExportResult.SUCCESS:
            return ""
        return next(iter(self._complaints.take()), "the collector did not take them")

    def _replay(self, trace: Trace) -> None:
        """Tell the SDK what has happened, with the moments at which it did."""
        self._ids.trace = int(trace.trace_id, 16)
        links = () if trace.retry_of is None else (_link(trace.retry_of),)
        self._ids.span = int(trace.root.span_id, 16)
        root = self._tracer.start_span(
            trace.root.name,
            kind=_KINDS[trace.root.name],
            attributes=trace.root.attributes,
            links=links,
            start_time=_nanoseconds(trace.root.start),
        )
        within = set_span_in_context(root)
        for part in trace.parts:
            self._ids.span = int(part.span_id, 16)
            span = self._tracer.start_span(
                part.name,
                within,
                kind=_KINDS.get(part.name, SpanKind.INTERNAL),
                attributes=part.attributes,
                start_time=_nanoseconds(part.start),
            )
            span.set_status(_status(part))
            span.end(_nanoseconds(part.end))
        root.set_status(_status(trace.root))
        root.end(_nanoseconds(trace.root.end))


class _GivenIds(IdGenerator):
    """The ids of what is told next."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Ended(SpanProcessor):
    """Holds the spans of one call."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


def _resource(version: str) -> Resource:
    ours = {"service.name": "conductor-loop", "service.version": version}
    given = OTELResourceDetector().detect().attributes
    return Resource.create({name: text for name, text in ours.items() if name not in given})


def _link(intent_id: str) -> Link:
    span = int(root_of(intent_id), 16)
    return Link(SpanContext(int(trace_id(intent_id), 16), span, is_remote=True))


def _status(span: Span) -> Status:
    return Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error)


def _nanoseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
