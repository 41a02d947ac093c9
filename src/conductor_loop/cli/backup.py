"""`conductor-loop backup`: a copy of journal and audit log that only its recipients can read."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.settings import Settings

NAME = "backup"
HELP = (
    "Copy the journal as it is at this moment, encrypt the copy and the audit log to recipients\n"
    "(age), decrypt that again to prove it, and only then give it its name. A running daemon goes\n"
    "on undisturbed. Private keys are left out unless --with-keys is given: without them a backup\n"
    "of a sealed journal opens only where its key-encryption key is."
)
EXAMPLES = """\
conductor-loop backup journal.age --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
conductor-loop backup journal.age -backup-recipients recipients.txt --with-keys
"""  # noqa: E501  a recipient is as long as that


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """File and recipients."""
    from conductor_loop.cli.flags import add_settings, free_text

    parser.add_argument("file", metavar="FILE", type=Path, help="file to write; it must not exist")
    parser.add_argument(
        "--recipient",
        action="append",
        type=free_text,
        default=[],
        metavar="KEY",
        help="who can read it",
    )
    parser.add_argument("--with-keys", action="store_true", help="put private keys in it too")
    parser.add_argument("--json", action="store_true", help="for scripts")
    add_settings(parser, "backup-recipients")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Make one backup."""
    from conductor_loop.adapters.backup.making import make_backup
    from conductor_loop.adapters.backup.parcel import read_recipients_file

    made = make_backup(
        settings.state_dir,
        settings.kek_file,
        args.file,
        read_recipients_file(settings.backup_recipients, args.recipient),
        datetime.now(UTC),
        with_keys=args.with_keys,
    )
    if args.json:
        print_json({"file": str(made.path), "bytes": made.size, **_told(made.manifest)})
        return 0
    print_line(f"{made.path}: {made.size} bytes, {made.manifest.intents} intents")
    if made.manifest.audit_files:
        files, size = made.manifest.audit_files, made.manifest.audit_bytes
        print_line(f"with the audit log: {files} files, {size} bytes")
    print_line("decrypted again and found whole")
    if made.manifest.is_sealed and not made.manifest.has_keys:
        print_line("without private keys: keep the key-encryption key elsewhere, or --with-keys")
    return 0


def _told(manifest: object) -> dict[str, object]:
    import msgspec

    told: dict[str, object] = msgspec.to_builtins(manifest)
    return told
