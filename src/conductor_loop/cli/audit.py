"""`conductor-loop audit`: prove, show or export the audit log; with or without a daemon."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from conductor_loop.cli.terminal import print_json, print_line, print_table, print_warning
from conductor_loop.cli.verify import trusted_keys
from conductor_loop.core.audit.records import AuditRecord, decode_line, encode_line
from conductor_loop.core.audit.verification import Finding, Line, Verified
from conductor_loop.core.faults import UsageError
from conductor_loop.core.security_events import Severity
from conductor_loop.operations.audit_proof import anchors_from, journal_of, prove_log
from conductor_loop.projections.audit.reading import lines_of
from conductor_loop.settings import Settings

NAME = "audit"
HELP = (
    "The signed log of all that was decided, asked or noticed, and by whom. `verify` proves\n"
    "that no record was edited, removed, reordered or cut off, and names the first that was;\n"
    "`verify --complete` also that every file ever claimed has one final verdict or is open.\n"
    "`show` lists records, `export` writes them to standard output. docs/audit.md has the format.\n"
    "Exit 0 when all is good, 8 when something is not."
)
EXAMPLES = """\
conductor-loop audit verify
conductor-loop audit verify --complete --json
conductor-loop audit verify --anchor 4096:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=
conductor-loop audit show --severity medium --since 2026-01-01
conductor-loop audit show --intent 01JD5Z1V8Q6W3N0M4X7T2R9KPB
conductor-loop audit export --format ocsf > events.jsonl
"""
_NOT_GOOD = 8
_FORMATS = ("jsonl", "ocsf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and filters."""
    parser.add_argument("task", choices=["verify", "show", "export"])
    parser.add_argument("--keys", metavar="FILE", type=Path, help="public keys, JWK set or PEM")
    parser.add_argument(
        "--anchor", metavar="SIZE:ROOT", action="append", default=[],
        help="verify: a checkpoint kept elsewhere; root in hex or base64; may be given often",
    )  # fmt: skip
    parser.add_argument("--complete", action="store_true", help="verify: verdicts and journal too")
    parser.add_argument("--since", metavar="TIME", help="only from this moment on (RFC 3339)")
    parser.add_argument("--intent", metavar="ID", help="only about this intent")
    parser.add_argument("--action", metavar="WORD", help="only actions that begin like this")
    parser.add_argument(
        "--severity", choices=[s.value for s in Severity], help="only as severe or more"
    )
    parser.add_argument("--format", choices=_FORMATS, default="jsonl", help="export: the form")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do it."""
    if args.task == "verify":
        return _verify(args, settings)
    chosen = _chosen(args, settings)
    if args.task == "export":
        return _export(chosen, args.format)
    return _show(chosen, as_json=args.json)


def _verify(args: argparse.Namespace, settings: Settings) -> int:
    keys, _, custody_faults = trusted_keys(args.keys, settings)
    verified = prove_log(
        settings.handoff,
        settings.state_dir,
        keys,
        journal_of(settings.state_dir, settings.kek_file),
        anchors=anchors_from(args.anchor),
        is_complete=args.complete,
    )
    verified.faults += [Finding(f.code, f.message) for f in custody_faults]
    if args.json:
        print_json(_report(verified, args))
    else:
        _tell(verified, args)
    return _NOT_GOOD if verified.faults else 0


def _report(verified: Verified, args: argparse.Namespace) -> dict[str, object]:
    ledger = verified.ledger
    return {
        "ok": not verified.faults,
        "complete": not verified.faults if args.complete else None,
        "first_seq": verified.first_seq,
        "last_seq": verified.signed_seq,
        "journal_seq": verified.signed_journal_seq,
        "root": ledger.tree.root().hex() if ledger else None,
        "checkpoints": verified.checkpoints,
        "claimed": ledger.claimed if ledger else 0,
        "ended": ledger.ended if ledger else 0,
        "open": list(ledger.open) if ledger else [],
        "ended_in_order": verified.ended_in_order,
        "faults": [
            {"code": f.code, "message": f.message, "seq": f.seq, "file": f.file, "line": f.line}
            for f in verified.faults
        ],
        "notes": verified.notes,
    }


def _tell(verified: Verified, args: argparse.Namespace) -> None:
    for finding in verified.faults:
        place = f" ({finding.file}{f':{finding.line}' if finding.line else ''})"
        record = f"record {finding.seq}: " if finding.seq else ""
        print_line(
            f"NOT GOOD  {record}{finding.code}: {finding.message}{place if finding.file else ''}"
        )
    for note in verified.notes:
        print_line(f"note: {note}")
    print_line(
        "the log ended in order"
        if verified.ended_in_order
        else "the log did not end in order: a daemon is at it, or ended without a word"
    )
    if verified.faults:
        return
    ledger = verified.ledger
    print_line(
        f"good: records {verified.first_seq} to {verified.signed_seq},"
        f" {verified.checkpoints} checkpoints, none edited, removed, reordered or cut"
    )
    if args.complete and ledger:
        print_line(
            f"complete: {ledger.claimed} claimed, {ledger.ended} ended, {len(ledger.open)} open"
        )
    if ledger:
        print_line(f"anchor: {ledger.size}:{ledger.tree.root().hex()}")


def _place(finding: Finding) -> str:
    line = f":{finding.line}" if finding.line else ""
    file = f" ({finding.file}{line})" if finding.file else ""
    return f"record {finding.seq}{file}: " if finding.seq else ""


def _chosen(args: argparse.Namespace, settings: Settings) -> Iterator[AuditRecord]:
    since = _moment(args.since)
    levels = [severity.value for severity in Severity]
    least = levels.index(args.severity) if args.severity else -1
    for record in _records(lines_of(settings.state_dir)):
        if since is not None and datetime.fromisoformat(record.timestamp) < since:
            continue
        if args.intent and record.intent_id != args.intent:
            continue
        if args.action and not record.action.startswith(args.action):
            continue
        if least >= 0 and (not record.severity or levels.index(record.severity) < least):
            continue
        yield record


def _records(lines: Iterator[Line]) -> Iterator[AuditRecord]:
    """Records up to the newest that is signed: what is behind it may be anybody's."""
    unsigned: list[AuditRecord] = []
    for line in lines:
        if not line.is_whole:
            continue  # being written just now
        try:
            unsigned.append(decode_line(line.raw))
        except ValueError as error:
            raise UsageError(
                f"{line.file}:{line.number}: {error}",
                hint="the log is damaged there: conductor-loop audit verify",
            ) from None
        if unsigned[-1].signature:
            yield from unsigned
            unsigned.clear()
    if unsigned:
        print_warning(
            f"left out: {len(unsigned)} records from {unsigned[0].seq} on, which are not signed;"
            " conductor-loop audit verify tells more"
        )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no moment", hint="write e.g. 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _show(records: Iterator[AuditRecord], *, as_json: bool) -> int:
    if as_json:
        print_json([msgspec.to_builtins(record) for record in records])
        return 0
    print_table(("SEQ", "TIME", "SEVERITY", "ACTION", "ACTOR", "RESOURCE"), map(_row, records))
    return 0


def _row(record: AuditRecord) -> tuple[str, ...]:
    return (
        str(record.seq), record.timestamp, record.severity or "-",
        record.action, record.actor, record.resource,
    )  # fmt: skip


def _export(records: Iterator[AuditRecord], form: str) -> int:
    if form == "jsonl":
        lines = map(encode_line, records)
    else:
        from conductor_loop.core.audit.ocsf import ocsf_line

        lines = map(ocsf_line, records)
    for line in lines:
        sys.stdout.buffer.write(line + b"\n")
    return 0
