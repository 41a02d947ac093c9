"""`conductor-loop pause`: start nothing new, of everything or of one target."""

from __future__ import annotations

import argparse

from conductor_loop.cli.flags import free_text
from conductor_loop.cli.steering import print_reply, steer
from conductor_loop.conductor.control import parse_target
from conductor_loop.core.control import Pause
from conductor_loop.settings import Settings

NAME = "pause"
HELP = (
    "Start no new attempts until resumed; files are still picked up and checked, and what runs\n"
    "goes on. It outlives restarts, and is recorded with who and why."
)
EXAMPLES = """\
conductor-loop pause -why "change freeze"
conductor-loop pause -target oran-sim/cnf-simulator -why "investigating"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and why."""
    parser.add_argument("--target", help="only this NAMESPACE/TARGET")
    parser.add_argument(
        "--why", type=free_text, default="", help="the reason, for whoever finds it paused"
    )
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Pause."""
    parse_target(args.target)
    reply = steer(settings, Pause(args.target or "", args.why))
    return print_reply(reply, f"paused: {args.target or 'everything'}", as_json=args.json)
