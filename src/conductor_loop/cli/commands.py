"""The commands by name, and what each module under `cli/` offers. Nothing is imported for it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from conductor_loop.settings import Settings

DEFAULT = "run"

SUMMARIES = {
    "run": "watch the handoff folder; what happens when no command is given",
    "demo": "run samples through the built-in publisher and show what comes out",
    "submit": "check intents and hand them over",
    "validate": "check intents and tell every fault",
    "render": "show what the built-in publisher would write",
    "list": "list intents and where they stand",
    "why": "tell the whole history of one intent",
    "retry": "run finished intents again",
    "pause": "start no new attempts",
    "resume": "lift a pause",
    "cancel": "end intents that have not finished",
    "config": "check, show or reload the settings",
    "health": "tell whether the daemon is live and ready",
    "top": "show what goes on, anew each second",
    "keys": "show, rotate and export the keys that sign",
    "audit": "prove, show or export the audit log",
    "verify": "check the signatures of verdicts",
    "compliance": "hold controls of public catalogues against evidence",
    "forensics": "pack what an investigation begins with, signed",
    "doctor": "check this machine and these folders, changing nothing",
    "distribute": "divide one inbox among the handoffs of several daemons",
    "install": "install as a service of systemd",
    "schema": "print the schema of an intent or of a verdict",
    "state": "exchange what was processed; make a lost journal anew",
    "backup": "copy the journal, encrypted, while the daemon runs",
    "restore": "put a backup of the journal in its place",
    "completion": "print a completion script for a shell",
}
"""Every command with its one line of help, in the order of the help."""


class Command(Protocol):
    """A module `conductor_loop.cli.NAME`."""

    NAME: str
    HELP: str
    """What it does, in a sentence or a paragraph."""
    EXAMPLES: str
    """Command lines with a comment each, one per line."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare positionals and flags; -handoff, -state-dir and -config are there already.

        More settings are declared by `flags.add_settings`. No nested subparsers.
        """

    def run(self, args: argparse.Namespace, settings: Settings) -> int:
        """Do it, and return the exit status."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """Which command, and the arguments behind it."""

    name: str
    arguments: tuple[str, ...]


def invocation(argv: tuple[str, ...]) -> Invocation:
    """Split off the command; a command line that starts with a flag means `run`."""
    if not argv or argv[0].startswith("-"):
        return Invocation(DEFAULT, argv)
    return Invocation(argv[0], argv[1:])


def load(name: str) -> Command:
    """Import the module of a command in `SUMMARIES`."""
    return cast("Command", import_module(f"conductor_loop.cli.{name}"))
