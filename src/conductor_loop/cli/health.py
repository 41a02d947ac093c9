"""`conductor-loop health`: is the daemon of this state dir live and ready?"""

from __future__ import annotations

import argparse

from conductor_loop.adapters.control_socket import ask, no_daemon
from conductor_loop.cli.permission import explained
from conductor_loop.cli.terminal import addressed, print_error, print_json, print_line, problem
from conductor_loop.core.control import Health, Reply
from conductor_loop.core.faults import ConductorError
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
    reply, trouble = _asked(settings)
    checks = reply.checks if reply else ()
    ready = reply is not None and all(check.ok for check in checks)
    if args.json:
        print_json(
            {
                "live": reply is not None,
                "ready": ready,
                "daemon_pid": reply.pid if reply else None,
                "checks": [{"name": c.name, "ok": c.ok, "message": c.message} for c in checks],
                "error": trouble and problem(trouble),
            }
        )
    elif trouble is not None:
        print_error(trouble.message, trouble.hint)
    else:
        for check in checks:
            line = f"{'ok ' if check.ok else 'BAD'}  {check.name}  {addressed(check.message)}"
            print_line(line.rstrip())
        print_line("ready" if ready else "not ready")
    return 0 if ready else 1


def _asked(settings: Settings) -> tuple[Reply | None, ConductorError | None]:
    """What a daemon answers, or why there is no answer: a script is told that as well."""
    try:
        reply = ask(settings.state_dir, Health())
    except ConductorError as error:
        return None, error
    except PermissionError as error:
        told = explained(error, settings)
        if not isinstance(told, ConductorError):
            raise
        return None, told
    return reply, None if reply else no_daemon(settings.handoff, settings.state_dir)
