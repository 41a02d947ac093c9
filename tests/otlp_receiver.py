"""An OTLP receiver on this machine: HTTP, protobuf, as a collector's port 4318 speaks them."""

from __future__ import annotations

import contextlib
import gzip
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.system.daemon import wait_until

ERROR = Status.STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True)
class Received:
    """One span, with the resource that it came from."""

    span: Span
    resource: Mapping[str, object]

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def is_error(self) -> bool:
        return self.span.status.code == ERROR

    @property
    def facts(self) -> Mapping[str, object]:
        return _plain(self.span.attributes)


class Receiver:
    """What arrived."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self._scheme = scheme
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        """Path and headers, lower case, of each request."""
        self._spans: list[Received] = []

    @property
    def environment(self) -> dict[str, str]:
        """What an exporter is told to find this one."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{self._scheme}://127.0.0.1:{self.port}"}

    def spans(self, **facts: object) -> list[Received]:
        """Those whose root span has these facts, dots written as `__`, in order of arrival."""
        wanted = {name.replace("__", "."): value for name, value in facts.items()}
        traces = {
            each.trace_id
            for each in list(self._spans)
            if not each.parent_id and wanted.items() <= each.facts.items()
        }
        return [each for each in list(self._spans) if each.trace_id in traces]

    def trace_of(self, file: str) -> list[Received]:
        """Wait for the trace of a file's intent: the root, then the parts by their beginning."""
        wait_until(lambda: bool(self.spans(file__name=file)), f"the trace of {file} arrives")
        found = self.spans(file__name=file)
        return sorted(
            found, key=lambda each: (bool(each.parent_id), each.span.start_time_unix_nano)
        )

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        """Decode a request. Raises google.protobuf.message.DecodeError for anything else."""
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            resource = _plain(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                self._spans += [Received(span, resource) for span in of_scope.spans]
        self.requests.append((path, headers))


@contextlib.contextmanager
def receiving(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run one, on a free port unless one is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.take(self.path, headers, body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    receiver = Receiver(server.server_port, "http" if tls is None else "https")
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _plain(attributes: Iterable[KeyValue]) -> dict[str, object]:
    found: dict[str, object] = {}
    for each in attributes:
        kind = each.value.WhichOneof("value")
        found[each.key] = None if kind is None else getattr(each.value, kind)
    return found
