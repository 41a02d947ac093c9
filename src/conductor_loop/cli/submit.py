"""`conductor-loop submit FILE...`: check intents, hand them over, and follow them if asked."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from conductor_loop.adapters.handoff.handover import hand_over, open_handoff
from conductor_loop.adapters.handoff.ordinals import is_divided
from conductor_loop.cli.checking import STDIN, Judged, fault_fields, judge, print_faults
from conductor_loop.cli.flags import OF_INTENTS, add_settings
from conductor_loop.cli.following import Follower, Submission
from conductor_loop.cli.terminal import print_error, print_json, print_line, print_warning
from conductor_loop.core.durations import parse_duration
from conductor_loop.core.faults import UsageError
from conductor_loop.core.identity import ulid
from conductor_loop.core.naming import LONGEST_NAME, is_intent_name, shown
from conductor_loop.settings import Settings
from conductor_loop.settings.intake import intake_rules

NAME = "submit"
HELP = (
    "Check intents and hand them over: whole at once, and never over another file. When one of\n"
    "them has a fault, none is handed over. Prints name and SHA-256, and the id as soon as a\n"
    "daemon has it.\n\n"
    "Exit status: 0 handed over, with --wait all succeeded; 1 not possible, or --wait-timeout\n"
    "passed, or without that the daemon went away; 2 usage; 8 a fault was found, or\n"
    "with --wait an intent did not succeed."
)
EXAMPLES = """\
conductor-loop submit intent-scale-up.json
conductor-loop submit --wait --wait-timeout 5m intent-*.json
generate | conductor-loop submit --name intent-nightly.json -
"""
_NOT_POSSIBLE, _NO_SUCCESS = 1, 8
_EVERY_SECONDS = 0.05
# A daemon has the id within milliseconds of the rename, unless its queue is full.
_PATIENCE_FOR_ID = timedelta(seconds=2)
# A daemon that is restarted is away for a moment.
_DAEMON_LOOKS, _MOST_MISSES = timedelta(seconds=1), 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, how to name and to follow them, and the settings that the rules follow from."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="an intent; - is standard input")
    parser.add_argument("--name", help="hand over under this name, intent-*.json; for one FILE")
    parser.add_argument("--wait", action="store_true", help="follow to the verdict")
    parser.add_argument(
        "--wait-timeout", type=_duration, metavar="DURATION", help="with --wait: give up after this"
    )
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    add_settings(parser, *OF_INTENTS)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Check all, hand over all, then follow."""
    if args.wait_timeout is not None and not args.wait:
        raise UsageError("--wait-timeout is given without --wait", hint="add --wait")
    # An inbox that a daemon has taken over since is a handoff again.
    divided = is_divided(settings.state_dir) and not Follower(settings).is_watched()
    if args.wait and divided:
        raise UsageError(
            f"{settings.handoff} is divided among several handoffs, where --wait does not follow",
            hint="leave it out; the verdict comes in the handoff that distribute --which names",
        )
    names = _names(args.files, args.name)
    rules = intake_rules(settings)
    judged = [judge(source, rules, settings.max_file_size) for source in args.files]
    if any(one.faults for one in judged):
        return _refused(judged, as_json=args.json)
    follower = Follower(settings)
    folder = open_handoff(settings.handoff)
    try:
        submissions, is_deserted = [], False
        for name, one in zip(names, judged, strict=True):
            submission = follower.expect(name, one.digest)
            hand_over(folder, name, one.body, _fresh_ulid())
            submissions.append(submission)
            if not args.json:
                print_line(f"{shown(name)}  sha256:{one.digest}")
        if divided:
            print_warning("a distributor divides this folder; verdicts come in the handoffs")
        else:
            is_deserted = _follow(follower, submissions, args)
    finally:
        os.close(folder)
        follower.close()
    if args.json:
        print_json([_fields(one) for one in submissions])
    return _status(submissions, settings, is_deserted=is_deserted) if args.wait else 0


def _duration(text: str) -> timedelta:
    try:
        given = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if given <= timedelta(0):
        raise argparse.ArgumentTypeError(f"{text} is too short; without it there is no end")
    return given


def _names(sources: Sequence[str], name: str | None) -> list[bytes]:
    if name is not None and len(sources) > 1:
        raise UsageError("--name is for one FILE", hint="submit them one by one")
    if sources.count(STDIN) > 1:
        raise UsageError("standard input is named twice", hint="name - once")
    names = [_name(source, name) for source in sources]
    for one in names:
        if names.count(one) > 1:
            raise UsageError(
                f"two files have the name {shown(one)}", hint="submit them one by one with --name"
            )
    return names


def _name(source: str, name: str | None) -> bytes:
    given = os.fsencode(name) if name is not None else os.path.basename(os.fsencode(source))
    if source == STDIN and name is None:
        return f"intent-{_fresh_ulid()}.json".encode()
    if not is_intent_name(given) or b"/" in given or len(given) > LONGEST_NAME:
        raise UsageError(
            f"{shown(given)} would not be picked up: names are intent-*.json",
            hint="give it one: --name intent-SOMETHING.json",
        )
    return given


def _fresh_ulid() -> str:
    return ulid(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))


def _refused(judged: Sequence[Judged], *, as_json: bool) -> int:
    faulty = [one for one in judged if one.faults]
    if as_json:
        print_json([{"file": one.source, "faults": fault_fields(one.faults)} for one in faulty])
    for one in faulty:
        print_error(f"{one.source} has faults, so nothing was handed over")
        if not as_json:
            print_faults(one.faults)
    return _NO_SUCCESS


def _follow(
    follower: Follower, submissions: Sequence[Submission], args: argparse.Namespace
) -> bool:
    """Follow until all is known or patience ends; tell whether the daemon went away meanwhile."""
    is_watched = follower.is_watched()
    if not is_watched:
        print_warning("no daemon watches this folder; what was handed over waits for its start")
    if not args.wait and not is_watched:
        return False
    patience = args.wait_timeout if args.wait else _PATIENCE_FOR_ID
    told: set[str] = set()
    watch = _Watch(follower, is_seen=is_watched)
    for waited in _looks():
        for one in submissions:
            if one.ending is None:
                follower.look(one)
            if not args.json:
                _tell(one, told)
        is_done = all(one.ending or (one.intent_id and not args.wait) for one in submissions)
        if is_done or (patience is not None and waited >= patience):
            break
        if args.wait and watch.is_over(waited) and _gives_up(args, watch):
            return True
    return False


def _gives_up(args: argparse.Namespace, watch: _Watch) -> bool:
    """Whether to wait no more for a daemon that is gone; a given timeout is waited out."""
    if args.wait_timeout is None:
        return True
    if not watch.is_told:
        watch.is_told = True
        print_warning("the daemon is gone; waiting for another one until --wait-timeout")
    return False


@dataclass(slots=True)
class _Watch:
    """Whether the daemon that was there is there no more; one that starts anew is waited for."""

    follower: Follower
    is_seen: bool
    is_told: bool = False
    misses: int = 0
    next_look: timedelta = timedelta(0)

    def is_over(self, waited: timedelta) -> bool:
        if waited >= self.next_look:
            self.next_look = waited + _DAEMON_LOOKS
            is_there = self.follower.is_watched()
            self.is_seen = self.is_seen or is_there
            self.misses = 0 if is_there else self.misses + 1
        return self.is_seen and self.misses >= _MOST_MISSES


def _looks() -> Iterator[timedelta]:
    start = time.monotonic()
    while True:
        yield timedelta(seconds=time.monotonic() - start)
        sys.stdout.flush()  # who reads through a pipe sees what is known while we wait
        time.sleep(_EVERY_SECONDS)


def _tell(one: Submission, told: set[str]) -> None:
    """Print what became known, each line once."""
    lines = []
    if one.intent_id:
        duplicate = f", a duplicate of {one.first}" if one.first else ""
        lines.append(f"{shown(one.name)}  id:{one.intent_id}{duplicate}")
    if one.ending is not None:
        lines.append(f"{shown(one.name)}  {one.ending.status}: {one.ending.message}")
    for line in lines:
        if line not in told:
            told.add(line)
            print_line(line)


def _status(submissions: Sequence[Submission], settings: Settings, *, is_deserted: bool) -> int:
    endings = [one.ending for one in submissions]
    if any(ending is not None and ending.status != "success" for ending in endings):
        return _NO_SUCCESS
    if None in endings:
        why = "no daemon runs any more: " if is_deserted else ""
        left = f"{endings.count(None)} of {len(endings)}"
        print_error(
            f"{why}gave up waiting for {left}; they stay handed over",
            "start one: conductor-loop"
            if is_deserted
            else f"see later in {settings.handoff}/status, or with conductor-loop list",
        )
        return _NOT_POSSIBLE
    return 0


def _fields(one: Submission) -> dict[str, object]:
    return {
        "file": shown(one.name),
        "sha256": one.digest,
        "intent_id": one.intent_id or None,
        "duplicate_of": one.first or None,
        "status": one.ending.status if one.ending else None,
        "message": one.ending.message if one.ending else None,
    }
