"""`conductor-loop health`: is the daemon of this state dir live and ready?"""

from __future__ import annotations

import argparse

from conductor_loop.adapters.control_socket import ask, no_daemon
from conductor_loop.cli.terminal import addressed, print_error, print_json, print_line
from conductor_loop.core.control import Health
from conductor_loop.settings import Settings

NAME = "health"
HELP = "Exit 0 when the daemon of this state dir is live and ready to take files, else 1."
EXAMPLES = """\
conductor-loop health
conductor-loop health -handoff /data/in -json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to show it."""
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Ask, and show each check."""
    reply = ask(settings.state_dir, Health())
    checks = reply.checks if reply else ()
    ready = reply is not None and all(check.ok for check in checks)
    if args.json:
        print_json(
            {
                "live": reply is not None,
                "ready": ready,
                "daemon_pid": reply.pid if reply else None,
                "checks": [{"name": c.name, "ok": c.ok, "message": c.message} for c in checks],
            }
        )
    elif reply is None:
        nobody = no_daemon(settings.state_dir)
        print_error(nobody.message, nobody.hint)
    else:
        for check in checks:
            line = f"{'ok ' if check.ok else 'BAD'}  {check.name}  {addressed(check.message)}"
            print_line(line.rstrip())
        print_line("ready" if ready else "not ready")
    return 0 if ready else 1
