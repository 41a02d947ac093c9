"""`ports.Notices` that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from conductor_loop.core.security_events import severity_of


@dataclass(frozen=True, slots=True)
class Notice:
    """One call of `report`."""

    code: str
    subject: str
    by: str
    details: dict[str, str]


@dataclass(slots=True)
class NoticesInMemory:
    """See `ports.Notices`."""

    told: list[Notice] = field(default_factory=list)

    def report(self, code: str, subject: str = "", *, by: str = "", **details: str) -> None:
        """See `ports.Notices`."""
        severity_of(code)
        self.told.append(Notice(code, subject, by, details))

    @property
    def codes(self) -> list[str]:
        """What was reported, oldest first."""
        return [notice.code for notice in self.told]
