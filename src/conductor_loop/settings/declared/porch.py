"""What is run for an intent, and what it may touch and use up."""

# ruff: noqa: RUF009  setting() is dataclasses.field() with what is known of the setting

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from conductor_loop.core.packages import Mode
from conductor_loop.core.sandbox import NetworkChoice, SandboxChoice
from conductor_loop.settings import readers
from conductor_loop.settings.declared.option import setting

MOST_MEMORY = 1 << 50
_PORCH = "porch"


@dataclass(frozen=True, kw_only=True)
class Porch:
    """What is run for an intent, and what it may touch and use up."""

    porch: str = setting(
        readers.text("COMMAND"),
        "porch",
        _PORCH,
        "command to run for each intent: a path, a name on PATH, or builtin",
    )
    mode: Mode = setting(
        readers.choice(Mode), "direct", _PORCH, "direct: a patch; structured: a kpt package"
    )
    child_env: tuple[str, ...] = setting(
        readers.names(),
        "",
        _PORCH,
        "environment variables that porch gets besides a clean minimum",
        name="child.env",
        has_flag=False,
        shown_default="none",
    )
    child_read: tuple[Path, ...] = setting(
        readers.folders(),
        "",
        _PORCH,
        "paths that porch may read and run besides the system's and its own",
        name="child.read",
        has_flag=False,
        shown_default="none",
    )
    child_write: tuple[Path, ...] = setting(
        readers.folders(),
        "",
        _PORCH,
        "paths that porch may change besides OUT and its temporary folder",
        name="child.write",
        has_flag=False,
        shown_default="none",
    )
    child_memory: int = setting(
        readers.size(0, MOST_MEMORY),
        "4GiB",
        _PORCH,
        "data that one process of porch may hold in memory; 0 = no limit",
        name="child.memory",
        has_flag=False,
    )
    child_cpu: timedelta | None = setting(
        readers.unless(("auto", ""), readers.duration()),
        "auto",
        _PORCH,
        "CPU time that one process of porch may use; 0 = no limit; auto: four times its deadline",
        name="child.cpu",
        has_flag=False,
    )
    child_files: int = setting(
        readers.number(0, 1 << 20),
        "4096",
        _PORCH,
        "open files of one process of porch, 16 + 4 for each worker at least; 0 = no limit",
        name="child.files",
        has_flag=False,
    )
    child_file_size: int = setting(
        readers.size(0, MOST_MEMORY),
        "1GiB",
        _PORCH,
        "largest file that porch may write; 0 = no limit",
        name="child.file-size",
        has_flag=False,
    )
    child_processes: int = setting(
        readers.number(0, 1 << 20),
        "1024",
        _PORCH,
        "processes and threads porch's user may have more than at the start; 0 = no limit",
        name="child.processes",
        has_flag=False,
    )
    porch_sha256: str | None = setting(
        readers.unless(("",), readers.sha256()),
        "",
        _PORCH,
        "what the porch command must hash to, else nothing starts",
        shown_default="whatever is there at start",
    )
    sandbox: SandboxChoice = setting(
        readers.choice(SandboxChoice),
        "auto",
        _PORCH,
        "how porch is confined; auto: as well as can be had here, the others are demands",
    )
    sandbox_net: NetworkChoice = setting(
        readers.choice(NetworkChoice), "host", _PORCH, "network that porch may use"
    )
    chroot_enabled: bool = setting(
        readers.switch(),
        "false",
        _PORCH,
        "demand the jail, as -sandbox bwrap does",
        has_flag=False,
    )
