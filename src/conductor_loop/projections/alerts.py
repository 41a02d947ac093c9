"""Alerts: how often each code was noticed since the start, for whoever shows it."""

from __future__ import annotations

from collections import Counter

from conductor_loop.core.events import Noticed
from conductor_loop.core.records import Entry
from conductor_loop.core.security_events import KINDS, Severity, severity_of


class Alerts:
    """`ports.Listener`: counts notices once they are in the journal."""

    def __init__(self) -> None:
        self.by_code: Counter[str] = Counter()
        self.by_severity: Counter[Severity] = Counter()

    def hear(self, entry: Entry) -> None:
        """See `ports.Listener`."""
        if isinstance(entry.event, Noticed):
            self.by_code[entry.event.code] += 1
            self.by_severity[entry.event.severity] += 1

    def describe(self) -> str:
        """`2 high: hard_link_seen, symlink_seen`, the gravest first; notes are not told."""
        told = []
        for severity in reversed(Severity):
            codes = sorted(code for code in self.by_code if _severity(code) is severity)
            if codes and severity is not Severity.INFO:
                told.append(f"{self.by_severity[severity]} {severity}: {', '.join(codes)}")
        return "; ".join(told)


def _severity(code: str) -> Severity | None:
    return severity_of(code) if code in KINDS else None
