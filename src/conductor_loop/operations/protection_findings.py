"""What the doctor says of protections: what a running daemon does; else what a start would do."""

from __future__ import annotations

from collections.abc import Iterator

from conductor_loop.adapters.checkup import Finding, Grade, check_porch, check_sandbox
from conductor_loop.adapters.start_refusals import check_kek
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.protection import BUILTIN, PORCH
from conductor_loop.core.sandbox import UNCONFINED
from conductor_loop.operations.in_force import InForce, journal_form
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import trusted_users

_NOT_RECORDED = "nothing that happens is recorded for proof"
_UNGUARDED = "no anomaly detection, and what porch prints is kept as it is"
_READABLE = "whoever can read its file reads every intent in it"
_THEIR_PORCH = "give -porch, or -config, as the daemon was given it"
_HERE = "so the settings given here; no daemon says otherwise"


def protection_findings(settings: Settings, found: InForce) -> Iterator[Finding]:
    """The switches, the sandbox and the ports: of the daemon that runs, if one does."""
    audit, security = settings.audit_enabled, settings.security_enabled
    kept = f"kept in {settings.state_dir / 'audit'}"
    guarded = "anomaly detection and scrubbing are on"
    if not found.is_running:
        yield _here("audit log", audit, kept, _NOT_RECORDED)
        yield _here("security", security, guarded, _UNGUARDED)
        return
    yield _of_daemon("audit log", found.said.audit, audit, (kept, _NOT_RECORDED), found)
    yield _of_daemon("security", found.said.security, security, (guarded, _UNGUARDED), found)
    yield _ports(found)


def sandbox_finding(settings: Settings, found: InForce) -> Finding:
    """The layer that a daemon reached; where none runs, the one that can be had here."""
    layer = found.said.sandbox
    if not found.is_running:
        return check_sandbox(settings.sandbox_choice())
    if not layer:
        return Finding("sandbox", Grade.WARNING, f"not known: {found.source}")
    told = f"{layer} is reached ({found.source})"
    if layer != UNCONFINED:
        return Finding("sandbox", Grade.OK, told)
    return Finding("sandbox", Grade.WARNING, told, "what it runs is not confined")


def porch_finding(settings: Settings, found: InForce) -> Finding:
    """The command of a start from here; a daemon that runs may have been given another one."""
    here = check_porch(settings.porch, trusted_users(settings), settings.porch_sha256 or "")
    theirs = found.said.publisher if found.is_running else ""
    if theirs == BUILTIN:
        return Finding("porch", Grade.OK, f"built in ({found.source})")
    if theirs == PORCH and settings.porch == BUILTIN:
        told = f"a command, not the one built in ({found.source})"
        return Finding("porch", Grade.WARNING, told, _THEIR_PORCH)
    if found.is_running and here.grade is Grade.BAD:
        told = f"{here.message} (so the settings given here; the daemon that runs may have others)"
        return Finding("porch", Grade.WARNING, told, _THEIR_PORCH)
    return here


def encryption_findings(settings: Settings) -> Iterator[Finding]:
    """What the journal's file is, and whether a start could go on with it. Raises OSError."""
    if settings.encryption_enabled:
        key = check_kek(settings.state_dir, settings.kek_file)
        if key is not None:
            yield key
    try:
        form = journal_form(settings.state_dir, settings.kek_file)
    except ConductorError as error:
        yield Finding("encryption", Grade.BAD, error.message, error.hint)
        return
    if form is None:
        told = "the journal will be sealed when it is made"
        yield _here("encryption", settings.encryption_enabled, told, _READABLE)
    elif not form.is_sealed:
        hint = f"start the daemon with {_variable('encryption')}=true, which writes it anew"
        told = f"the journal is in clear (its file was looked at): {_READABLE}"
        yield Finding("encryption", Grade.WARNING, told, hint)
    elif form.unreadable:
        told = f"{form.unreadable} of the {form.looked_at} newest entries do not open"
        hint = "start the daemon: it sets aside what it cannot trust; or restore a backup"
        yield Finding("encryption", Grade.BAD, told, hint)
    else:
        yield _sealed(settings, form.looked_at)


def _sealed(settings: Settings, looked_at: int) -> Finding:
    told = f"the journal is sealed (its file was looked at: {looked_at} entries)"
    if settings.encryption_enabled:
        return Finding("encryption", Grade.OK, told)
    told = f"{told}; switched off here, so a start from here would write it anew in clear"
    return Finding("encryption", Grade.WARNING, told, f"leave {_variable('encryption')} out")


def _here(subject: str, is_on: bool, on: str, off: str) -> Finding:
    if is_on:
        return Finding(subject, Grade.OK, f"{on} ({_HERE})")
    hint = f"leave {_variable(subject)} out"
    return Finding(subject, Grade.WARNING, f"switched off: {off} ({_HERE})", hint)


def _of_daemon(
    subject: str, is_on: bool | None, here: bool, told: tuple[str, str], found: InForce
) -> Finding:
    if is_on is None:
        return Finding(subject, Grade.WARNING, f"not known: {found.source}")
    source = found.source if is_on == here else f"{found.source}; the settings here say otherwise"
    if is_on:
        return Finding(subject, Grade.OK, f"{told[0]} ({source})")
    hint = f"start the daemon without {_variable(subject)}=false"
    return Finding(subject, Grade.WARNING, f"switched off: {told[1]} ({source})", hint)


def _ports(found: InForce) -> Finding:
    ports = found.said.ports
    if ports is None:
        return Finding("ports", Grade.WARNING, f"not known: {found.source}")
    return Finding("ports", Grade.OK, f"{', '.join(ports) or 'none is open'} ({found.source})")


def _variable(subject: str) -> str:
    return f"CONDUCTOR_{subject.split(maxsplit=1)[0].upper()}_ENABLED"
