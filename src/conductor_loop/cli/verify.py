"""`conductor-loop verify`: does each verdict prove what it says?"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conductor_loop.adapters.keys.public import (
    CHAIN,
    FOLDER,
    KeysUnusable,
    PublicKeys,
    keys_of,
    read_chain,
    read_keys_file,
    trust_successors,
)
from conductor_loop.adapters.verdict_files import (
    Checked,
    Known,
    NothingKnown,
    check_file,
    status_files,
)
from conductor_loop.cli.checking import fault_fields, print_faults
from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.core.custody import Custody
from conductor_loop.core.faults import CannotStart, Fault, UsageError
from conductor_loop.settings import Settings

if TYPE_CHECKING:
    from conductor_loop.adapters.journal.reader import JournalReader

NAME = "verify"
HELP = (
    "Check the signatures of verdicts, and that their names and the files in processed/ and\n"
    "failed/ agree with them. The keys are those in the state dir, with their chain of custody;\n"
    "or those of a file that you trust more, and the keys that those vouch for. docs/verify.md\n"
    "shows how to do without this program.\n"
    "Exit 0 when all is good, 8 when something is not."
)
EXAMPLES = """\
conductor-loop verify handoff/status/intent-scale-up-001.json.status
conductor-loop verify --all
conductor-loop verify --all --keys trusted.jwks --json
"""
_NOT_GOOD = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which verdicts, and by which keys."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="status files")
    parser.add_argument("--all", action="store_true", help="every verdict, older ones too")
    parser.add_argument("--keys", metavar="FILE", type=Path, help="public keys, JWK set or PEM")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Check, tell, and say by the exit status whether all is good."""
    if args.all == bool(args.files):
        raise UsageError("name status files, or --all", hint="conductor-loop verify --help")
    keys, custody, faults = trusted_keys(args.keys, settings)
    paths = status_files(os.fsencode(settings.handoff)) if args.all else _named(args.files)
    known = _known(settings)
    checked = [check_file(path, keys, known) for path in paths]
    if args.json:
        print_json(_report(checked, faults))
    else:
        _print(checked, custody, faults, is_brief=args.all)
    return _NOT_GOOD if faults or any(one.proof.faults for one in checked) else 0


def _named(files: Sequence[str]) -> Iterator[bytes]:
    return (os.fsencode(file) for file in files)


def trusted_keys(
    file: Path | None, settings: Settings
) -> tuple[PublicKeys, Sequence[Custody], Sequence[Fault]]:
    """The keys of a file, or of the state dir with their chain of custody and its faults."""
    if file is not None:
        keys = read_keys_file(file)
        with contextlib.suppress(KeysUnusable):  # not ours to read: then these keys are all
            trust_successors(keys, read_chain(settings.state_dir))
        return keys, (), ()
    chain = read_chain(settings.state_dir)
    if not chain:
        raise UsageError(
            f"there are no keys in {settings.state_dir / FOLDER}",
            hint="name the daemon's folders by -handoff or -state-dir, or give --keys",
        )
    keys, faults = keys_of(chain)
    return keys, chain, faults


class _Journal:
    """`adapters.verdict_files.Known`."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader

    def place_of(self, intent_id: str) -> str | None:
        """See `Known`."""
        summary = self._reader.summary(intent_id)
        return None if summary is None else summary.filed

    def successor(self, name: bytes, intent_id: str) -> str | None:
        """See `Known`."""
        newer = self._reader.successor(name, intent_id)
        are_views_in_line = self._reader.position() == self._reader.last_seq()
        return newer if are_views_in_line else None


def _known(settings: Settings) -> Known:
    from conductor_loop.adapters.journal.reader import open_reader

    try:
        return _Journal(open_reader(settings.state_dir, settings.kek_file))
    except CannotStart:  # the verdicts may have been copied from elsewhere
        return NothingKnown()


def _report(checked: Sequence[Checked], faults: Sequence[Fault]) -> dict[str, object]:
    return {
        "ok": not faults and not any(one.proof.faults for one in checked),
        "custody_faults": fault_fields(faults),
        "files": [
            {
                "file": one.shown_path,
                "ok": not one.proof.faults,
                "intent_id": one.proof.text("intent_id"),
                "kid": one.proof.kid,
                "faults": fault_fields(one.proof.faults),
            }
            for one in checked
        ],
    }


def _print(
    checked: Sequence[Checked],
    custody: Sequence[Custody],
    faults: Sequence[Fault],
    *,
    is_brief: bool,
) -> None:
    if faults:
        print_line(f"{FOLDER}/{CHAIN}: NOT GOOD")
        print_faults(faults)
    for one in checked:
        if one.proof.faults:
            print_line(f"{one.shown_path}: NOT GOOD")
            print_faults(one.proof.faults)
        elif not is_brief:
            print_line(f"{one.shown_path}: good, signed by {one.proof.kid}")
    for record in custody:
        if record.previous and not record.is_vouched_for:
            print_line(
                f"note: {record.kid} took over at {record.since} ({record.reason})"
                " without a word of the key before it"
            )
    good = sum(not one.proof.faults for one in checked)
    print_line(f"{good} good, {len(checked) - good} not")
