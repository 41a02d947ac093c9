"""Installing under systemd: a plan of files and commands, shown first, then carried out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from conductor_loop.core.faults import CannotStart, UsageError

BOOTED = Path("/run/systemd/system")
"""There exactly when systemd runs this machine (sd_booted(3))."""
UNIT = "conductor-loop@.service"
_UNITS, _SYSUSERS = Path("/etc/systemd/system"), Path("/usr/lib/sysusers.d")
_SETTINGS = Path("/etc/conductor-loop")
# Hidden from the unit by ProtectHome= and PrivateTmp=.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108  compared with, not used
# What needs no escaping in the name of a unit (systemd.unit(5)) and is a plain file name.
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,63}")
_SECONDS = 120


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put a file in place; one that may hold an operator's own words is never overwritten."""

    path: Path
    text: str
    keeps_existing: bool = False

    def describe(self) -> str:
        """What would be done, in one line."""
        if self.keeps_existing and self.path.exists():
            return f"keep   {self.path} as it is"
        return f"write  {self.path}"

    def carry_out(self) -> None:
        """Do it. Raises OSError."""
        if self.keeps_existing and self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staged = self.path.with_name(f".{self.path.name}.new")
        staged.write_text(self.text, encoding="utf-8")
        staged.chmod(0o644)
        os.replace(staged, self.path)


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command of the system."""

    argv: tuple[str, ...]

    def describe(self) -> str:
        """What would be done, in one line."""
        return "run    " + " ".join(self.argv)

    def carry_out(self) -> None:
        """Do it. Raises CannotStart when it fails."""
        done = subprocess.run(
            self.argv, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        if done.returncode:
            raise CannotStart(
                f"{' '.join(self.argv)} failed: {done.stderr.strip() or done.returncode}",
                hint="systemctl status and journalctl -xe say more; run the install again",
                code="install_failed",
            )


Step = WriteFile | Run


def plan(instance: str, command: Path, root: Path) -> Sequence[Step]:
    """What installing takes; with a `root` other than `/` files only, for images and packages.

    Raises UsageError for a name or a command that a unit cannot use, CannotStart without systemd.
    """
    _require_usable(instance, command)
    if root == Path("/"):
        _require_systemd()
        _require_program(command)
    return tuple(_steps(instance, command, root))


def _steps(instance: str, command: Path, root: Path) -> Iterator[Step]:
    def within(path: Path) -> Path:
        return root / path.relative_to("/")

    yield WriteFile(within(_SYSUSERS / "conductor-loop.conf"), _text("conductor-loop.sysusers"))
    yield WriteFile(within(_UNITS / UNIT), _text(UNIT).replace("@COMMAND@", str(command)))
    yield WriteFile(
        within(_SETTINGS / f"{instance}.toml"),
        _text("instance.toml").replace("@INSTANCE@", instance),
        keeps_existing=True,
    )
    if root == Path("/"):
        yield Run(("systemd-sysusers", "conductor-loop.conf"))
        yield Run(("systemctl", "daemon-reload"))
        yield Run(("systemctl", "enable", "--now", f"conductor-loop@{instance}.service"))


def own_command() -> Path:
    """The `conductor-loop` that belongs to this interpreter."""
    return Path(sys.executable).with_name("conductor-loop")


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _require_usable(instance: str, command: Path) -> None:
    if not _INSTANCE.fullmatch(instance):
        raise UsageError(
            f"{instance!r} is no name for an instance",
            hint="letters, digits, `_` and `.`, at most 64, e.g. site_a",
        )
    if not command.is_absolute() or any(
        character.isspace() or character in "%$\\\"'" for character in str(command)
    ):
        raise UsageError(
            f"{command} cannot stand in a unit",
            hint="give an absolute path without spaces, quotes, `%` and `$`",
        )
    if str(command).startswith(tuple(f"{folder}/" for folder in _HIDDEN)):
        raise UsageError(
            f"{command} is in a folder that the hardened unit cannot see",
            hint="install for all: python3 -m venv /opt/conductor-loop, then pip install there",
        )


def _require_systemd() -> None:
    if not BOOTED.is_dir():
        raise CannotStart(
            "systemd does not run this machine",
            hint="in a container use the image's own command; for an image of a system: --root DIR",
            code="no_systemd",
        )


def _require_program(command: Path) -> None:
    if not os.access(command, os.X_OK):
        raise UsageError(
            f"{command} cannot be run",
            hint="name the installed program: --command /opt/conductor-loop/bin/conductor-loop",
        )
