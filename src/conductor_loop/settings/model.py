"""The settings themselves, put together from their declarations.

Flags, environment, file keys, help and the reference are all derived from these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields

from conductor_loop.core.packages import BUILTIN
from conductor_loop.core.sandbox import Limits, SandboxChoice
from conductor_loop.settings.declared.folders import Folders
from conductor_loop.settings.declared.http import Http
from conductor_loop.settings.declared.intake import Intake
from conductor_loop.settings.declared.keeping import Keeping
from conductor_loop.settings.declared.logs import Logs
from conductor_loop.settings.declared.option import Option
from conductor_loop.settings.declared.porch import Porch
from conductor_loop.settings.declared.running import MOST_WORKERS, Running


# A dataclass lists the fields of its last base first.
@dataclass(frozen=True, kw_only=True)
class Settings(Http, Logs, Intake, Keeping, Running, Porch, Folders):
    """Everything that can be set, checked. Durations are `timedelta`, sizes are bytes."""

    warnings: tuple[str, ...] = ()
    """What the operator should know about how these settings came to be."""

    def digest(self) -> str:
        """SHA-256, in hex, of the settings in effect: `config_sha256` of a verdict.

        The bytes are JSON with sorted keys: the name of each setting and its value as a flag
        would have it. Where a value came from makes no difference, so `config` is left out.
        """
        import hashlib
        import json

        shown = {
            option.name: option.reader.show(getattr(self, option.attribute))
            for option in OPTIONS.values()
            if option.name != "config"
        }
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()

    @property
    def is_builtin(self) -> bool:
        """Whether packages are written in-process, and no program is started."""
        return self.porch == BUILTIN

    def sandbox_choice(self) -> SandboxChoice:
        """The layer asked for, the switches of the original taken into account."""
        if not self.security_enabled:
            return SandboxChoice.NONE
        return SandboxChoice.BWRAP if self.chroot_enabled else self.sandbox

    def child_limits(self) -> Limits:
        """What one process of porch may use."""
        return Limits(
            memory=self.child_memory,
            cpu=self.child_cpu,
            open_files=self.child_files,
            file_size=self.child_file_size,
            processes=self.child_processes,
        )

    def worker_count(self) -> int:
        """How many attempts may run at a time, `auto` resolved on this machine."""
        if self.workers != "auto":
            return self.workers
        from conductor_loop.adapters.cpu_quota import allowed_cpus

        return min(allowed_cpus(), MOST_WORKERS)

    def memory_mark(self) -> int | None:
        """Bytes above which intake holds, `auto` resolved on this machine; None: it never does."""
        if self.max_memory != "auto":
            return self.max_memory
        from conductor_loop.adapters.pressure import automatic_mark

        return automatic_mark()


def _declared() -> Iterator[Option]:
    for declared in fields(Settings):
        if declared.default_factory is not MISSING:
            name = declared.name.replace("_", "-")
            yield Option(**{"name": name, **declared.metadata})


OPTIONS: dict[str, Option] = {option.name: option for option in _declared()}
