"""Settings read again while the daemon runs: what changes at once, what waits for a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from conductor_loop.settings.model import OPTIONS, Settings

LIVE = tuple(name for name, option in OPTIONS.items() if option.is_live)
"""The settings that a running daemon can take."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The names of settings, as in the file."""

    changed: tuple[str, ...]
    """In effect now."""
    needs_restart: tuple[str, ...]
    """Written differently from what runs; at the next start."""

    def describe(self) -> str:
        """In words."""
        told = [f"changed: {', '.join(self.changed)}" if self.changed else "nothing changed"]
        if self.needs_restart:
            told.append(f"only at the next start: {', '.join(self.needs_restart)}")
        return "; ".join(told)


class Reloading:
    """Reads all sources again, and applies what can be applied."""

    def __init__(
        self, running: Settings, load: Callable[[], Settings], apply: Callable[[Settings], None]
    ) -> None:
        """`apply` makes the live ones take effect; it cannot refuse."""
        self.running = running
        """What is in effect."""
        self._load = load
        self._applied_by = [apply]

    def tell(self, apply: Callable[[Settings], None]) -> None:
        """Have this make them take effect too, from now on."""
        self._applied_by.append(apply)

    def reload(self) -> Reloaded:
        """Do it. Raises SettingsMistaken, and then nothing has changed."""
        written = self._load()
        differ = [name for name in OPTIONS if self._differs(name, written)]
        live = tuple(name for name in differ if name in LIVE)
        values: dict[str, Any] = {
            OPTIONS[name].attribute: self._value(name, written) for name in live
        }
        if live:
            self.running = replace(self.running, **values)
            for apply in self._applied_by:
                apply(self.running)
        return Reloaded(live, tuple(name for name in differ if name not in LIVE))

    def _differs(self, name: str, written: Settings) -> bool:
        return self._value(name, written) != self._value(name, self.running)

    def _value(self, name: str, settings: Settings) -> object:
        return getattr(settings, OPTIONS[name].attribute)
