"""A mode that is not as the daemon left it, and was put back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModeChanged:
    """One folder or file; modes are the nine permission bits."""

    path: str
    found: int
    now: int

    def details(self) -> dict[str, str]:
        """For a notice."""
        return {"found": f"{self.found:04o}", "now": f"{self.now:04o}"}

    def __str__(self) -> str:
        return f"{self.path} had the mode {self.found:04o}: it is {self.now:04o} now"
