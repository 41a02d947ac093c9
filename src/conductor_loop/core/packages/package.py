"""What a package is: files in one folder per target, and the two shapes it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

BUILTIN = "builtin"
"""Given in place of a porch command: packages are written in-process."""


class Mode(StrEnum):
    """How much is written around the change itself."""

    DIRECT = "direct"
    STRUCTURED = "structured"


@dataclass(frozen=True, slots=True)
class Package:
    """A folder as it should be, whole; the same intent gives the same bytes, always."""

    folder: tuple[str, str]
    """NAMESPACE and TARGET, below OUT."""
    files: Mapping[str, bytes]
    """Contents by file name; no subfolders."""
