"""What pause, resume, cancel and retry share: ask the daemon, else take the lock and do it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from conductor_loop.adapters.control_socket import ask
from conductor_loop.cli.terminal import print_error, print_json, print_line, problem
from conductor_loop.core.control import Reply, Request
from conductor_loop.core.records import Pause
from conductor_loop.core.story import moment
from conductor_loop.core.wording import counted
from conductor_loop.settings import Settings

MOST_NAMED = 20
"""Of thousands of intents."""


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
    reply: Reply,
    done: str,
    *,
    as_json: bool,
    facts: Mapping[str, object] | None = None,
    offline: str = "no daemon runs here: it holds from its next start on",
) -> int:
    """Show what came of it, in JSON with more facts; exit status 1 when anything was refused."""
    if as_json:
        print_json(
            {
                "intent_ids": list(reply.intent_ids),
                "daemon_pid": reply.pid or None,
                "refusals": [problem(refusal) for refusal in reply.refusals],
                **(facts or {}),
            }
        )
    else:
        _print_refusals(reply)
        if not reply.refusals or reply.intent_ids:
            print_line(done)
            if not reply.pid:
                print_line(offline)
        refused = sum(bool(refusal.pointer) for refusal in reply.refusals)
        if refused and refused + len(reply.intent_ids) > 1:
            print_line(f"{len(reply.intent_ids)} done, {refused} refused")
    return 1 if reply.refusals else 0


def few(intent_ids: Sequence[str]) -> str:
    """Name them as far as a person would read them, and count the rest."""
    more = len(intent_ids) - MOST_NAMED
    named = ", ".join(intent_ids[:MOST_NAMED])
    return f"{named} and {more} more" if more > 0 else named


def _print_refusals(reply: Reply) -> None:
    """Those of single intents as far as a person would read them, and then what stopped it all."""
    of_intents = [refusal for refusal in reply.refusals if refusal.pointer]
    of_all = [refusal for refusal in reply.refusals if not refusal.pointer]
    for refusal in (*of_intents[:MOST_NAMED], *of_all):
        print_error(refusal.message, refusal.hint)
    more = len(of_intents) - MOST_NAMED
    if more > 0:
        print_error(f"{counted(more, 'more was', 'more were')} refused", "-json tells of each")
