"""`conductor-loop install systemd`: shows what it would do, and does it when told to."""

from __future__ import annotations

import argparse
from pathlib import Path

from conductor_loop.adapters.systemd.installation import own_command, plan
from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.core.faults import CannotStart
from conductor_loop.settings import Settings

NAME = "install"
HELP = (
    "Install as a service of systemd: a user, a hardened unit, settings, and start it. Without\n"
    "--yes it only prints what it would do. Settings that are there are kept."
)
EXAMPLES = """\
conductor-loop install systemd                        # show the plan
conductor-loop install systemd --yes                  # carry it out, as root
conductor-loop install systemd --instance site_a --yes
conductor-loop install systemd --root ./image --command /usr/bin/conductor-loop --yes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where, under which name, and whether to do it."""
    parser.add_argument("manager", choices=["systemd"], help="the service manager")
    parser.add_argument("--instance", metavar="NAME", default="default", help="one per handoff")
    parser.add_argument("--root", metavar="DIR", default="/", help="write below this folder only")
    parser.add_argument(
        "--command", metavar="FILE", default=str(own_command()), help="the program of the unit"
    )
    parser.add_argument("--yes", action="store_true", help="do it")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  of the service's own
    """Show the plan; carry it out with --yes."""
    steps = plan(args.instance, Path(args.command), Path(args.root).resolve())
    told = [step.describe() for step in steps]
    if args.json:
        print_json({"steps": told, "done": args.yes})
    else:
        for line in told:
            print_line(line)
    if not args.yes:
        if not args.json:
            print_line("nothing was done; add --yes to do it")
        return 0
    try:
        for step in steps:
            step.carry_out()
    except OSError as error:
        raise CannotStart(
            f"cannot write {error.filename}: {error.strerror}",
            hint="give --root a folder that you may write to, or run it as root",
            code="install_failed",
        ) from error
    return 0
