"""The evidence for a compliance report, looked at now; changes nothing."""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from conductor_loop import __version__, disk
from conductor_loop.adapters.keys.public import keys_of, read_chain
from conductor_loop.adapters.keys.store import key_in_use
from conductor_loop.adapters.verdict_files import NothingKnown, check_file, status_files
from conductor_loop.core.audit.records import decode_line
from conductor_loop.core.audit.verification import verify
from conductor_loop.core.compliance.controls import Evidence, Result
from conductor_loop.core.compliance.report import Report, as_json, signed_report
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.jws import Verifier
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from conductor_loop.core.wording import timestamp
from conductor_loop.projections.audit.reading import lines_of
from conductor_loop.settings import Settings

_FOLDER, _MOST_REPORTS = "compliance", 100
_MOST_VERDICTS, _MOST_RECORDS = 100, 1000
_TWICE = b'{"intent_type": "scaling", "intent_type": "scaling"}'


def compliance_report(settings: Settings) -> Report:
    """Look at everything, and sign what was found. Raises KeysUnusable without a key."""
    key = key_in_use(settings.state_dir, given=settings.key_file)
    keys, _ = keys_of(read_chain(settings.state_dir))
    found = _found(settings, keys)
    return signed_report(found, timestamp(datetime.now(UTC)), __version__, key.kid, key.sign)


def keep_report(settings: Settings) -> None:
    """Write a report into the state dir, whole and for its owner alone; drop all but the newest.

    Raises OSError when it cannot be written, KeysUnusable without a key.
    """
    report = compliance_report(settings)
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


def _found(settings: Settings, keys: Verifier) -> dict[str, Evidence]:
    return {
        **_by_hand(),
        **_audit(settings, keys),
        "key": _key(settings),
        "user": _user(settings.state_dir),
        "modes": _modes(settings.state_dir),
        "verdicts": _verdicts(settings.handoff, keys),
        "sandbox": _sandbox(settings),
        "encryption": _switch("encryption-enabled", is_on=settings.encryption_enabled),
        "scrubbing": _switch("security-enabled", is_on=settings.security_enabled),
        "noticing": _switch("security-enabled", is_on=settings.security_enabled),
        "input": _input(settings),
        "port": _port(settings),
    }


def _by_hand() -> dict[str, Evidence]:
    asked = {
        "pod": "look for allowPrivilegeEscalation: false in the pod's security context",
        "time": "look whether the host's clock is synchronised with authentication (NTS)",
        "forwarding": "look whether STATE-DIR/audit or the log is collected elsewhere",
        "backup": "look whether backups are made, and when one was restored last",
    }
    return {name: Evidence(Result.MANUAL, told) for name, told in asked.items()}


def _passed(ok: bool, told: str) -> Evidence:
    return Evidence(Result.PASS if ok else Result.FAIL, told)


def _switch(name: str, *, is_on: bool) -> Evidence:
    return _passed(is_on, f"{name} is {'on' if is_on else 'off'}")


def _key(settings: Settings) -> Evidence:
    path = settings.key_file or settings.state_dir / "keys" / "signing.pem"
    # fsGroup of Kubernetes makes what is mounted group-readable; ours never is.
    allowed = 0o640 if settings.key_file else 0o600
    mode = stat.S_IMODE(path.stat().st_mode)
    return _passed(not mode & ~allowed, f"the signing key is a file of mode {mode:04o}")


def _user(state_dir: Path) -> Evidence:
    owner = state_dir.stat().st_uid
    return _passed(owner != 0, f"the state dir belongs to uid {owner}, as whom the daemon runs")


def _modes(state_dir: Path) -> Evidence:
    open_ones = [
        f"{path.relative_to(state_dir.parent)} {stat.S_IMODE(status.st_mode):04o}"
        for path in (state_dir, *state_dir.glob("keys"), *state_dir.glob("audit/*"))
        if (status := path.lstat()).st_mode & 0o077 and not stat.S_ISLNK(status.st_mode)
    ]
    return _passed(not open_ones, ", ".join(open_ones) or "state, keys and audit are private")


def _verdicts(handoff: Path, keys: Verifier) -> Evidence:
    paths = list(islice(status_files(os.fsencode(handoff)), _MOST_VERDICTS))
    if not paths:
        return Evidence(Result.NOT_APPLICABLE, "there is no verdict yet")
    bad = [path for path in paths if check_file(path, keys, NothingKnown()).proof.faults]
    return _passed(not bad, f"{len(paths)} verdicts looked at, {len(bad)} not good")


def _sandbox(settings: Settings) -> Evidence:
    from conductor_loop.adapters.sandbox import landlock

    if settings.is_builtin:
        return Evidence(Result.NOT_APPLICABLE, "the built-in publisher starts no program")
    choice, version = settings.sandbox_choice(), landlock.abi()
    told = f"-sandbox {choice}; Landlock here: {f'version {version}' if version else 'none'}"
    return _passed(choice != "none" and (bool(version) or choice == "bwrap"), told)


def _input(settings: Settings) -> Evidence:
    refused = isinstance(read_intent(_TWICE, IntakeRules(lambda _: ())), Unreadable)
    told = f"a field that stands twice is refused; at most {settings.max_file_size} bytes"
    return _passed(refused, told)


def _port(settings: Settings) -> Evidence:
    if settings.http is None:
        return Evidence(Result.NOT_APPLICABLE, "no port is listened on")
    return _passed(settings.http_cert is not None, f"-http {settings.http}, -http-cert decides")


def _audit(settings: Settings, keys: Verifier) -> dict[str, Evidence]:
    try:
        verified = verify(lines_of(settings.state_dir), keys, {})
        lines = list(islice(lines_of(settings.state_dir), _MOST_RECORDS))
    except CannotStart as error:
        return dict.fromkeys(("audit", "records", "zone"), Evidence(Result.FAIL, error.message))
    proved = f"records {verified.first_seq} to {verified.signed_seq}"
    faults = ", ".join(fault.code for fault in verified.faults)
    records = [decode_line(line.raw) for line in lines if line.is_whole and not faults]
    whole = all(r.timestamp and r.actor and r.action and r.resource for r in records)
    zoned = all(datetime.fromisoformat(r.timestamp).tzinfo for r in records)
    told = f"{len(records)} records looked at"
    return {
        "audit": _passed(not faults, f"{proved} {f'do not hold: {faults}' if faults else 'hold'}"),
        "records": _passed(bool(records) and whole, f"{told}: time, actor, action, resource"),
        "zone": _passed(bool(records) and zoned, f"{told}: times in UTC"),
    }
