"""`conductor-loop config`: are the settings right, which are they, read them again."""

from __future__ import annotations

import argparse

from conductor_loop.adapters.control_socket import ask, no_daemon
from conductor_loop.cli.flags import EVERYWHERE, add_settings
from conductor_loop.cli.terminal import print_error, print_json, print_line, problem
from conductor_loop.core.control import Reload
from conductor_loop.settings import Settings
from conductor_loop.settings.model import OPTIONS

NAME = "config"
HELP = (
    "check: read flags, environment and file, tell every mistake, change nothing. show: the\n"
    "settings that come of them. reload: have the running daemon read its own again, as SIGHUP\n"
    "does; what cannot change while it runs is named, and a mistake changes nothing."
)
EXAMPLES = """\
conductor-loop config check -config /etc/conductor-loop/default.toml
conductor-loop config show -config conductor.toml -workers 4
conductor-loop config reload -config /etc/conductor-loop/default.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and every setting that a daemon could be given."""
    parser.add_argument("action", choices=("check", "show", "reload"))
    parser.add_argument("--json", action="store_true", help="for scripts")
    names = [o.name for o in OPTIONS.values() if o.has_flag and o.name not in EVERYWHERE]
    add_settings(parser.add_argument_group("what the daemon would be given"), *names)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Whoever gets here has settings without a mistake."""
    if args.action == "reload":
        return _reload(settings, as_json=args.json)
    shown = {o.name: o.reader.show(getattr(settings, o.attribute)) for o in OPTIONS.values()}
    if args.action == "show" and args.json:
        print_json({"settings": shown, "config_sha256": settings.digest()})
    elif args.action == "show":
        for name, value in shown.items():
            print_line(f"{name} = {value}")
    elif args.json:
        print_json({"ok": True, "warnings": list(settings.warnings)})
    else:
        print_line("no mistake in the settings")
    return 0


def _reload(settings: Settings, *, as_json: bool) -> int:
    reply = ask(settings.state_dir, Reload())
    if reply is None:
        raise no_daemon(settings.handoff, settings.state_dir)
    if as_json:
        print_json(
            {
                "changed": list(reply.changed),
                "needs_restart": list(reply.needs_restart),
                "daemon_pid": reply.pid or None,
                "refusals": [problem(refusal) for refusal in reply.refusals],
            }
        )
        return 1 if reply.refusals else 0
    for refusal in reply.refusals:
        print_error(refusal.message, refusal.hint)
    if not reply.refusals:
        print_line(f"changed: {', '.join(reply.changed) or 'nothing'}")
    if reply.needs_restart:
        print_line(f"only at the next start: {', '.join(reply.needs_restart)}")
    return 1 if reply.refusals else 0
