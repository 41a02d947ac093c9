"""What OpenTelemetry says when it cannot work, without the secrets that it quotes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from urllib.parse import unquote

from conductor_loop.core.scrubbing import SCRUBBED

_MOST = 20


class Complaints(logging.Handler):
    """What the library had to say: it tells why only in its log, first, and then that it gave up.

    Less than a warning is nobody's concern.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Remember one."""
        if len(self._heard) < _MOST:
            self._heard.append(_without_headers(record.getMessage()))

    def take(self) -> Sequence[str]:
        """Those since the last time, oldest first."""
        heard, self._heard = self._heard, []
        return heard


def said_by(error: Exception) -> str:
    """What an error of the library says."""
    return _without_headers(str(error) or type(error).__name__)


def _without_headers(text: str) -> str:
    """The library quotes a header that it does not like, and headers are where tokens stand."""
    for name, value in os.environ.items():
        if name.startswith("OTEL_") and name.endswith("_HEADERS"):
            for header in value.split(","):
                for secret in (header.strip(), unquote(header.partition("=")[2]).strip()):
                    text = text.replace(secret, SCRUBBED) if secret else text
    return text
