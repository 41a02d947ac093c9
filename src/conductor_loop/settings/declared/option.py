"""One setting, as it is declared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from conductor_loop.settings.readers import Reader

T = TypeVar("T")

OFF = ("0", "off", "")
"""What may be written where a setting is to be off."""


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one setting apart from its value."""

    name: str
    """The flag without its dash, and the key in the file."""
    reader: Reader[Any]
    default: str
    """As one would write it."""
    purpose: str
    group: str
    has_flag: bool = True
    in_file: bool = True
    shown_default: str = ""
    is_live: bool = False
    """Takes effect when the settings are read again; the others were built into the daemon."""

    @property
    def attribute(self) -> str:
        """The name of the field in `Settings`."""
        return self.name.replace("-", "_").replace(".", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "CONDUCTOR_" + self.attribute.upper()


def setting(reader: Reader[T], default: str, group: str, purpose: str, **more: Any) -> T:
    """Declare a field of `Settings`; `more` goes to its `Option`."""
    metadata = {"reader": reader, "default": default, "group": group, "purpose": purpose, **more}
    return field(default_factory=lambda: reader.read(default), metadata=metadata)
