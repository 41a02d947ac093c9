"""What pause, resume, cancel and retry share: ask the daemon, else take the lock and do it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from conductor_loop.adapters.control_socket import ask
from conductor_loop.adapters.journal.opening import Pause
from conductor_loop.cli.terminal import print_error, print_json, print_line
from conductor_loop.core.control import Reply, Request
from conductor_loop.core.story import moment
from conductor_loop.settings import Settings


def steer(settings: Settings, request: Request) -> Reply:
    """Have a request carried out, whether a daemon runs or not."""
    reply = ask(settings.state_dir, request)
    if reply is not None:
        return reply
    from conductor_loop.wiring import steer_offline

    return steer_offline(settings, request)


def lifting(pause: Pause) -> str:
    """Who paused what, since when and why, and the command that lifts it."""
    what = f"{pause.target} is paused" if pause.target else "paused"
    why = f" ({pause.why})" if pause.why else ""
    target = f" -target {shlex.quote(pause.target)}" if pause.target else ""
    since = f"by {pause.by} since {moment(pause.at)}{why}"
    return f"{what} {since}: conductor-loop resume{target}"


def print_reply(
    reply: Reply, done: str, *, as_json: bool, facts: Mapping[str, str | None] | None = None
) -> int:
    """Show what came of it, in JSON with more facts; exit status 1 when anything was refused."""
    if as_json:
        print_json(
            {
                "intent_ids": list(reply.intent_ids),
                "daemon_pid": reply.pid or None,
                "refusals": [
                    {"code": r.code, "message": r.message, "hint": r.hint} for r in reply.refusals
                ],
                **(facts or {}),
            }
        )
    else:
        for refusal in reply.refusals:
            print_error(refusal.message, refusal.hint)
        if not reply.refusals or reply.intent_ids:
            print_line(done)
            if not reply.pid:
                print_line("no daemon runs here: it holds from its next start on")
    return 1 if reply.refusals else 0
