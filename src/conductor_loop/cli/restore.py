"""`conductor-loop restore`: a backup takes the journal's place, and is brought up to date."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.core.faults import UsageError
from conductor_loop.settings import Settings

if TYPE_CHECKING:
    from conductor_loop.operations.rescue import Rescued

NAME = "restore"
HELP = (
    "Put a backup in the place of the journal, and its audit log where there is none. What ended\n"
    "after it was made is taken from the verdicts, else from the signed audit log, and not run\n"
    "again; the target of an intent of which nobody knows whether it ran is paused until you say\n"
    "`conductor-loop resume -target TARGET` (or cancel the intent first). Refused while a daemon\n"
    "runs; a journal that is there is moved aside, with --force only."
)
EXAMPLES = """\
conductor-loop restore journal.age -i key.txt --dry-run
conductor-loop restore journal.age -i key.txt --force
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """File and identity."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a file that `backup` wrote")
    parser.add_argument(
        "-i", "--identity", metavar="FILE", type=Path, required=True, help="private key of age"
    )
    parser.add_argument("--force", action="store_true", help="also where there is a journal")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Restore, and tell what became of the time since."""
    from conductor_loop.adapters.backup.parcel import read_identities
    from conductor_loop.operations.rescue import restore

    try:
        identities = read_identities(args.identity.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {args.identity}: {error}", hint="check --identity") from None
    done = restore(settings, args.file, identities, force=args.force, dry_run=args.dry_run)
    tell(done, is_json=args.json)
    return 0


def tell(done: Rescued, *, is_json: bool) -> None:
    """Print what was put back, what was taken from verdicts, and what is held."""
    if is_json:
        print_json(_document(done))
        return
    verb = "were" if done.is_done else "would be"
    if done.made_at is not None:
        print_line(f"backup of {done.made_at:%Y-%m-%d %H:%M:%S} UTC: {done.intents} intents")
    if done.audit_files:
        print_line(f"{done.audit_files} files of the audit log {verb} put back")
    print_line(f"{len(done.plan.settled)} open intents {verb} ended as their verdicts tell")
    print_line(f"{len(done.plan.adopted)} intents {verb} taken over from verdicts alone")
    if done.by_log:
        print_line(
            f"{len(done.by_log)} of these have no verdict: their end is that of the audit log"
        )
    print_line(f"{len(done.plan.held)} may have run, nobody knows: {verb} held, not run")
    for intent_id in done.plan.held:
        print_line(f"  {intent_id}")
    if done.plan.held:
        print_line("see them: conductor-loop list; then: conductor-loop resume -target TARGET")
    for path in done.unproved:
        print_line(f"not believed, it proves nothing: {path}")
    for path in done.aside:
        print_line(f"moved aside: {path}")


def _document(done: Rescued) -> dict[str, object]:
    return {
        "made_at": done.made_at.isoformat() if done.made_at else None,
        "intents": done.intents,
        "last_seq": done.last_seq,
        "settled": list(done.plan.settled),
        "adopted": list(done.plan.adopted),
        "by_audit_log": list(done.by_log),
        "held": list(done.plan.held),
        "not_believed": list(done.unproved),
        "moved_aside": list(done.aside),
        "audit_files": done.audit_files,
        "dry_run": not done.is_done,
    }
