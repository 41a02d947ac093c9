"""`conductor-loop distribute -to DIR,DIR`: divide one inbox among several handoffs, by target."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from conductor_loop.cli.flags import add_settings
from conductor_loop.cli.logging_setup import configure_logging
from conductor_loop.cli.terminal import print_error, print_json, print_line
from conductor_loop.core.contract import is_label, is_subdomain
from conductor_loop.core.distribution import key_of, ordinal_of
from conductor_loop.core.faults import UsageError
from conductor_loop.settings import Settings

NAME = "distribute"
HELP = (
    "Move each complete intent-*.json of the inbox (-handoff) into one of several handoffs, each\n"
    "with a daemon of its own: all intents of a target into the same one, in order, never over\n"
    "another file. The daemon there gives the verdict. Other handoffs than last time are taken\n"
    "once the old ones are drained. docs/kubernetes.md has the layout.\n\n"
    "Several inboxes may stand before the same handoffs if all name the same -to, each with one\n"
    "distributor. To another file system files are copied; each inbox finishes only its own\n"
    "copies (.arriving-INBOX-ID in a handoff), after a kill too.\n\n"
    "Exit status: 0 stopped, or with -once all moved; 1 not possible, or with -once some could\n"
    "not be moved and are kept; 2 usage."
)
EXAMPLES = """\
conductor-loop distribute -handoff /in -to /data/a/handoff,/data/b/handoff
conductor-loop distribute -handoff /in -to '/data/conductor-loop-{}/handoff' --count 3
conductor-loop distribute -handoff /in -to '/data/{}' --count 3 -once --json
conductor-loop distribute -to '/data/{}' --count 3 --which oran-sim/amf   # moves nothing
"""
MOST_HANDOFFS = 256
_SETTINGS = (
    *("once", "debounce", "period", "max-file-size", "intake-rate", "owner-rate", "intake-burst"),
    *("run-as", "sandbox", "log-level", "log-format", "log-file"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, and the settings of intake and log."""
    parser.add_argument(
        "-to",
        required=True,
        metavar="DIRS",
        help="handoffs by ordinal, with commas; or one with {}",
    )
    parser.add_argument("--count", type=int, metavar="N", help="put 0 to N-1 in place of {} in -to")
    parser.add_argument(
        "--which", metavar="NAMESPACE/TARGET", help="only print the handoff of a target"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    add_settings(parser, *_SETTINGS)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Divide until stopped; with -once, sum up."""
    handoffs = _handoffs(args.to, args.count)
    if args.which is not None:
        return _which(args.which, handoffs, as_json=args.json)
    configure_logging(settings)
    from conductor_loop.wiring.distribution import distribute

    done = distribute(settings, handoffs)
    if args.json:
        print_json({"moved": done.moved, "set_aside": done.set_aside, "kept": done.waiting})
    elif settings.once:
        print_line(f"{sum(done.moved)} moved, {done.set_aside} set aside, {done.waiting} kept")
    if not settings.once or not (done.waiting or done.set_aside):
        return 0
    print_error("not all could be moved", "the log tells why; the next start goes on with the rest")
    return 1


def _handoffs(to: str, count: int | None) -> list[Path]:
    if count is not None:
        if "{}" not in to or "," in to:
            raise UsageError("--count is given without one {} in -to", hint="-to '/data/{}'")
        named = [to.replace("{}", str(ordinal)) for ordinal in range(count)]
    else:
        named = to.split(",")
    if not 1 <= len(named) <= MOST_HANDOFFS or not all(named) or "{}" in named[0]:
        raise UsageError(
            f"-to names no handoffs: {to}",
            hint=f"1 to {MOST_HANDOFFS} folders with commas, or a pattern with {{}} and --count",
        )
    return [Path(os.path.abspath(one)) for one in named]


def _which(target: str, handoffs: list[Path], *, as_json: bool) -> int:
    namespace, _, name = target.partition("/")
    if not (is_label(namespace) and is_subdomain(name)):
        raise UsageError(f"{target} is no target", hint="write NAMESPACE/TARGET, as in the intent")
    ordinal = ordinal_of(key_of(namespace, name), len(handoffs))
    if as_json:
        print_json({"target": target, "ordinal": ordinal, "handoff": str(handoffs[ordinal])})
    else:
        print_line(f"{ordinal}  {handoffs[ordinal]}")
    return 0
