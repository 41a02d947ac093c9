"""Making the sender: from its first import on, OpenTelemetry reads its settings and may refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conductor_loop.core.faults import CannotStart
from conductor_loop.tracing.complaints import said_by

if TYPE_CHECKING:
    from conductor_loop.tracing.sending import Sender


def open_sender(version: str) -> Sender:
    """Raises CannotStart for variables that OpenTelemetry refuses."""
    try:
        from conductor_loop.tracing.sending import Sender

        return Sender(version)
    except Exception as error:  # which ones its releases raise is nowhere promised
        raise CannotStart(
            f"OpenTelemetry refuses its settings: {said_by(error)}",
            hint="correct the OTEL_* variable that it speaks of: docs/tracing.md",
            code="otel_settings",
        ) from error
