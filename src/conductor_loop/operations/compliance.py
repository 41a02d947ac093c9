"""The evidence for a compliance report, looked at now; changes nothing."""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from conductor_loop import __version__, disk
from conductor_loop.adapters.keys.public import PublicKeys, keys_of, read_chain
from conductor_loop.adapters.keys.store import key_in_use
from conductor_loop.adapters.verdict_files import NothingKnown, check_file, status_files
from conductor_loop.core.audit.records import decode_line
from conductor_loop.core.compliance.controls import Evidence, Result
from conductor_loop.core.compliance.report import Report, as_json, signed_report
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from conductor_loop.core.wording import timestamp
from conductor_loop.operations.audit_proof import journal_of, prove_log
from conductor_loop.operations.in_force import InForce, in_force
from conductor_loop.operations.protection_evidence import passed, protection_evidence
from conductor_loop.projections.audit.reading import lines_of
from conductor_loop.settings import Settings

_FOLDER, _MOST_REPORTS = "compliance", 100
_MOST_VERDICTS, _MOST_RECORDS = 100, 1000
_TWICE = b'{"intent_type": "scaling", "intent_type": "scaling"}'
_DEEP = b'{"intent_type": ' + b"[" * 1000 + b"]" * 1000 + b"}"


def compliance_report(settings: Settings, protections: InForce | None = None) -> Report:
    """Look at everything, and sign what was found. Raises KeysUnusable without a key.

    `protections` is what a daemon knows of itself; without it the one that runs is asked.
    """
    key = key_in_use(settings.state_dir, given=settings.key_file)
    keys, _ = keys_of(read_chain(settings.state_dir))
    known = protections or in_force(settings.state_dir, settings.kek_file)
    found = _found(settings, keys, known)
    return signed_report(found, timestamp(datetime.now(UTC)), __version__, key.kid, key.sign)


def keep_report(settings: Settings, protections: InForce) -> None:
    """Write a daemon's report on itself into the state dir, for its owner alone; drop the oldest.

    Raises OSError when it cannot be written, KeysUnusable without a key.
    """
    report = compliance_report(settings, protections)
    with contextlib.suppress(FileExistsError):
        os.mkdir(settings.state_dir / _FOLDER, 0o700)
    folder = disk.open_folder(os.fspath(settings.state_dir / _FOLDER))
    try:
        name = f"report-{report.generated_at}.json"
        with contextlib.suppress(FileNotFoundError):  # an earlier one died over it
            os.unlink(".new", dir_fd=folder)
        os.close(disk.write_new(folder, b".new", as_json(report).encode(), 0o600))
        os.rename(".new", name, src_dir_fd=folder, dst_dir_fd=folder)
        kept = sorted(name for name in os.listdir(folder) if name.startswith("report-"))
        for old in kept[:-_MOST_REPORTS]:
            os.unlink(old, dir_fd=folder)
    finally:
        os.close(folder)


def _found(settings: Settings, keys: PublicKeys, protections: InForce) -> dict[str, Evidence]:
    return {
        **_by_hand(),
        **protection_evidence(protections, settings.state_dir, settings.kek_file),
        **_audit(settings, keys),
        "key": _key(settings),
        "modes": _modes(settings.state_dir),
        "verdicts": _verdicts(settings.handoff, keys),
        "input": _input(),
    }


def _by_hand() -> dict[str, Evidence]:
    asked = {
        "pod": "look for allowPrivilegeEscalation: false in the pod's security context",
        "time": "look whether the host's clock is synchronised with authentication (NTS)",
        "forwarding": "look whether STATE-DIR/audit or the log is collected elsewhere",
        "backup": "look whether backups are made, and when one was restored last",
    }
    return {name: Evidence(Result.MANUAL, told) for name, told in asked.items()}


def _key(settings: Settings) -> Evidence:
    path = settings.key_file or settings.state_dir / "keys" / "signing.pem"
    # fsGroup of Kubernetes makes what is mounted group-readable; ours never is.
    allowed = 0o640 if settings.key_file else 0o600
    mode = stat.S_IMODE(path.stat().st_mode)
    return passed(not mode & ~allowed, f"the key that signs this is a file of mode {mode:04o}")


def _modes(state_dir: Path) -> Evidence:
    open_ones = [
        f"{path.relative_to(state_dir.parent)} {stat.S_IMODE(status.st_mode):04o}"
        for path in (state_dir, *state_dir.glob("keys"), *state_dir.glob("audit/*"))
        if (status := path.lstat()).st_mode & 0o077 and not stat.S_ISLNK(status.st_mode)
    ]
    return passed(not open_ones, ", ".join(open_ones) or "state, keys and audit are private")


def _verdicts(handoff: Path, keys: PublicKeys) -> Evidence:
    paths = list(islice(status_files(os.fsencode(handoff)), _MOST_VERDICTS))
    if not paths:
        return Evidence(Result.NOT_APPLICABLE, "there is no verdict yet")
    bad = [path for path in paths if check_file(path, keys, NothingKnown()).proof.faults]
    return passed(not bad, f"{len(paths)} verdicts looked at, {len(bad)} not good")


def _input() -> Evidence:
    rules = IntakeRules(lambda _: ())
    refused = all(isinstance(read_intent(data, rules), Unreadable) for data in (_TWICE, _DEEP))
    return passed(refused, "a field that stands twice and nesting without end are refused (tried)")


def _audit(settings: Settings, keys: PublicKeys) -> dict[str, Evidence]:
    try:
        proof = _proof(settings, keys)
        lines = list(islice(lines_of(settings.state_dir), _MOST_RECORDS))
    except ConductorError as error:
        return dict.fromkeys(("audit", "records", "zone"), Evidence(Result.FAIL, error.message))
    is_whole = proof.result is not Result.FAIL
    records = [decode_line(line.raw) for line in lines if line.is_whole and is_whole]
    whole = all(r.timestamp and r.actor and r.action and r.resource for r in records)
    zoned = all(datetime.fromisoformat(r.timestamp).tzinfo for r in records)
    told = f"{len(records)} records looked at"
    return {
        "audit": proof,
        "records": passed(bool(records) and whole, f"{told}: time, actor, action, resource"),
        "zone": passed(bool(records) and zoned, f"{told}: times in UTC"),
    }


def _proof(settings: Settings, keys: PublicKeys) -> Evidence:
    """As `audit verify --complete` proves it. Raises CannotStart when there is no log."""
    with contextlib.ExitStack() as opened:
        journal = journal_of(settings.state_dir, settings.kek_file)
        if journal is not None:
            opened.callback(journal.close)
        verified = prove_log(
            settings.handoff,
            settings.state_dir,
            keys,
            journal,
            anchors={},
            is_complete=journal is not None,
        )
    proved = f"records {verified.first_seq} to {verified.signed_seq}"
    faults = ", ".join(dict.fromkeys(fault.code for fault in verified.faults))
    if faults:
        return Evidence(
            Result.FAIL, f"{proved} do not hold: {faults} (conductor-loop audit verify)"
        )
    if journal is None:
        told = f"{proved} hold; without the journal whether the end was cut is not known"
        return Evidence(Result.MANUAL, told)
    return Evidence(
        Result.PASS, f"{proved} hold, and nothing is missing by journal and verdicts (proved)"
    )
