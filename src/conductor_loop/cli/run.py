"""`conductor-loop run`, the default: watch the handoff folder, or work through it once."""

from __future__ import annotations

import argparse
import logging
import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from conductor_loop.cli.flags import add_settings, given_settings
from conductor_loop.cli.logging_setup import configure_logging, set_log_level
from conductor_loop.cli.progress import progress_bar
from conductor_loop.cli.stopping import asked_to_end, noted
from conductor_loop.cli.terminal import print_error, print_line, print_warning
from conductor_loop.core.durations import format_duration
from conductor_loop.core.wording import counted
from conductor_loop.settings import Settings, load_settings
from conductor_loop.settings.model import OPTIONS
from conductor_loop.settings.reloading import Reloading

if TYPE_CHECKING:
    from conductor_loop.wiring import Report

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
_GAVE_UP, _NOT_ALL_SUCCEEDED = 1, 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every setting that has a flag."""
    for group in dict.fromkeys(option.group for option in OPTIONS.values()):
        names = [o.name for o in OPTIONS.values() if o.group == group and o.has_flag]
        add_settings(parser.add_argument_group(group), *names)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Start the log, then everything else; with -once, sum up."""
    if asked_to_end():
        return 0  # before anything was claimed
    configure_logging(settings)
    for warning in settings.warnings:
        logging.getLogger(__name__).warning(warning)
    from conductor_loop import wiring

    flags = given_settings(args)
    reloading = Reloading(settings, lambda: load_settings(flags, os.environ), set_log_level)
    if not settings.once:
        wiring.run(settings, reloading=reloading, early=noted)
        return 0
    start = time.monotonic()
    with progress_bar(settings.handoff) as listeners:
        report = wiring.run(settings, listeners, reloading, noted)
    return _summed_up(report, timedelta(seconds=round(time.monotonic() - start, 3)))


def _way_on(report: Report) -> str:
    if report.trouble:
        return (
            f"the environment failed for longer than -timeout ({report.trouble}): see the log,"
            " mend it, start again"
        )
    from conductor_loop.cli.steering import lifting

    return "; ".join(map(lifting, report.pauses))


def _summed_up(report: Report, took: timedelta) -> int:
    did = report.tally.describe(report.kept, report.set_aside)
    if report.was_stopped and not (report.tally.final or report.kept or report.set_aside):
        did = "nothing done"
    print_line(f"{did} in {format_duration(took)}")
    kept = f"{counted(report.kept, 'intent is', 'intents are')} kept for the next start"
    if report.gave_up is not None:
        print_error(f"gave up, {kept}", _way_on(report))
        return _GAVE_UP
    if report.set_aside:
        print_error(
            f"{counted(report.set_aside, 'intent is', 'intents are')} damaged in the journal:"
            " set aside, and not run",
            "the log and `conductor-loop audit show` name them; then: conductor-loop state discard",
        )
        return _NOT_ALL_SUCCEEDED
    if report.parked:
        print_error(
            f"files or verdicts of {counted(report.parked, 'entry', 'entries')} of the journal"
            " could not be written",
            "the log says why; mend it, start again: they are tried first",
        )
        return _NOT_ALL_SUCCEEDED
    # Stopped by a signal before the end: nothing is known of what is left.
    if report.kept:
        print_warning(f"stopped before the end, {kept}")
    if report.kept or not report.tally.has_unsuccessful:
        return 0
    print_error("not all succeeded", "conductor-loop list -failed shows which, why NAME tells why")
    return _NOT_ALL_SUCCEEDED
