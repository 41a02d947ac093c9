"""`conductor-loop resume`: lift a pause."""

from __future__ import annotations

import argparse

from conductor_loop.cli.steering import print_reply, steer
from conductor_loop.core.control import Resume
from conductor_loop.settings import Settings

NAME = "resume"
HELP = "Lift a pause: of everything, or with -target the pause of that target."
EXAMPLES = """\
conductor-loop resume
conductor-loop resume -target oran-sim/cnf-simulator -why "fixed"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and why."""
    parser.add_argument("--target", default="", help="the NAMESPACE/TARGET that was paused")
    parser.add_argument("--why", default="", help="the reason, for the record")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Resume."""
    reply = steer(settings, Resume(args.target, args.why))
    return print_reply(reply, f"resumed: {args.target or 'everything'}", as_json=args.json)
