"""`conductor-loop run`, the default: watch the handoff folder, or work through it once."""

from __future__ import annotations

import argparse
import logging

from conductor_loop.cli.flags import add_settings
from conductor_loop.cli.logging_setup import configure_logging
from conductor_loop.settings import Settings
from conductor_loop.settings.model import OPTIONS

NAME = "run"
HELP = (
    "Watch the handoff folder: pick every intent-*.json up exactly once, check it, run porch for\n"
    "it, and leave a package and a verdict. Flags win over CONDUCTOR_* environment variables,\n"
    "those over the file named by -config."
)
EXAMPLES = """\
conductor-loop                                   # watch ./handoff, write to ./out
conductor-loop -porch builtin -mode structured   # without an external porch
conductor-loop -handoff /data/in -out /data/out -once
conductor-loop -config /etc/conductor/conductor.toml -log-level debug
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every setting that has a flag."""
    for group in dict.fromkeys(option.group for option in OPTIONS.values()):
        names = [o.name for o in OPTIONS.values() if o.group == group and o.has_flag]
        add_settings(parser.add_argument_group(group), *names)


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  settings hold all
    """Start the log, then everything else."""
    configure_logging(settings)
    log = logging.getLogger(__name__)
    for warning in settings.warnings:
        log.warning(warning)
    from conductor_loop import wiring

    return wiring.run(settings)
