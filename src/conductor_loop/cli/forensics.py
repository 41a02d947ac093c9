"""`conductor-loop forensics`: one file with everything an investigation begins with."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime

from conductor_loop.cli.terminal import print_line
from conductor_loop.core.faults import UsageError
from conductor_loop.settings import Settings

NAME = "forensics"
HELP = (
    "Pack the audit log, notices, verdicts, what was set aside, and what failed with its error\n"
    "logs, from a moment on, into a tar.gz that ends with a signed manifest of every file's\n"
    "SHA-256. Nothing is changed, no link is followed; left-out.txt names what is too large.\n"
    "Check it with `conductor-loop verify manifest.json` and `sha256sum`."
)
EXAMPLES = """\
conductor-loop forensics bundle --since 2026-01-31 --dry-run
conductor-loop forensics bundle --since 2026-01-31T12:00:00Z --output case-7.tar.gz
tar xzf case-7.tar.gz && conductor-loop verify manifest.json
jq -r '.files[] | .sha256 + "  " + .path' manifest.json | sha256sum -c
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """From when on, and where to."""
    parser.add_argument("task", choices=["bundle"])
    parser.add_argument("--since", metavar="TIME", required=True, help="from then on (RFC 3339)")
    parser.add_argument(
        "--output", metavar="FILE", default="forensics.tar.gz", help="must not exist yet"
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would be packed")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """List or write."""
    from conductor_loop.operations.forensics import LEFT_OUT, items, write_bundle

    since = _moment(args.since)
    if not settings.handoff.is_dir():
        raise UsageError(f"there is no folder {settings.handoff}", hint="give -handoff")
    if args.dry_run:
        for item in items(settings, since):
            print_line(f"{len(item.data):>12}  {item.path}")
        return 0
    try:
        # It holds what others may not read, so it is the caller's alone.
        handle = os.open(args.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(
            f"cannot make {args.output}: {error.strerror}", hint="give another --output"
        ) from error
    with open(handle, "wb") as out:
        listed = write_bundle(settings, since, out)
    print_line(f"{args.output}: {len(listed)} files and their signed manifest")
    if LEFT_OUT in listed:
        print_line(f"not everything had room: {LEFT_OUT} in it names what was left out")
    return 0


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no moment", hint="write e.g. 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
