"""Which pages are printed, and by what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.printed import audit, codes, commands, metrics, verdict

DOCS = Path(__file__).parents[1]
PAGES: dict[str, Callable[[], str]] = {
    "reference-commands.md": commands.page,
    "reference-errors.md": codes.page,
    "reference-metrics.md": metrics.page,
    "reference-verdict.md": verdict.page,
    "reference-audit-record.md": audit.page,
}
"""File names under docs/, and what prints them."""
