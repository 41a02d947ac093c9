"""What protects a daemon, as evidence: what is not known of it is for a person to find out."""

from __future__ import annotations

from pathlib import Path

from conductor_loop.core.compliance.controls import Evidence, Result
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.protection import BUILTIN
from conductor_loop.core.sandbox import UNCONFINED
from conductor_loop.core.vitals import Role
from conductor_loop.operations.in_force import InForce, journal_form


def passed(ok: bool, told: str) -> Evidence:
    """Evidence that decides."""
    return Evidence(Result.PASS if ok else Result.FAIL, told)


def protection_evidence(
    found: InForce, state_dir: Path, kek_file: Path | None
) -> dict[str, Evidence]:
    """Evidence by the names that controls ask for."""
    said = found.said
    return {
        "auditing": _switch("the audit log", said.audit, found),
        "scrubbing": _switch("scrubbing", said.security, found),
        "noticing": _switch("noticing", said.security, found),
        "user": _user(found),
        "sandbox": _sandbox(found),
        "port": _ports(found),
        "encryption": _encryption(state_dir, kek_file),
    }


def _unknown(what: str, found: InForce) -> Evidence:
    return Evidence(Result.MANUAL, f"{what} is not known: {found.source}")


def _switch(name: str, is_on: bool | None, found: InForce) -> Evidence:
    if is_on is None:
        return _unknown(f"whether {name} is on", found)
    return passed(is_on, f"{name} is {'on' if is_on else 'off'} ({found.source})")


def _user(found: InForce) -> Evidence:
    if found.said.uid is None:
        return _unknown("as whom the daemon runs", found)
    return passed(found.said.uid != 0, f"the daemon is uid {found.said.uid} ({found.source})")


def _sandbox(found: InForce) -> Evidence:
    said = found.said
    if not said.sandbox:
        return _unknown("the layer of confinement", found)
    what = "porch"
    if said.publisher == BUILTIN:
        what = "the daemon, which renders packages itself,"
    told = f"{what} runs under the layer {said.sandbox} ({found.source})"
    return passed(said.sandbox != UNCONFINED, told)


def _ports(found: InForce) -> Evidence:
    ports = found.said.ports
    if ports is None:
        return _unknown("what is listened on", found)
    if not ports:
        return Evidence(Result.NOT_APPLICABLE, f"no port is listened on ({found.source})")
    told = f"{', '.join(ports)} ({found.source})"
    plain = [port for port in ports if "http://" in port]
    if any(port.startswith(Role.PAGE) for port in plain):
        return Evidence(Result.FAIL, f"without TLS: {told}")
    if plain:
        return Evidence(
            Result.MANUAL, f"without TLS, and names no intent: {told}; look at the network around"
        )
    return Evidence(Result.PASS, told)


def _encryption(state_dir: Path, kek_file: Path | None) -> Evidence:
    """What the file is, whatever anybody says."""
    try:
        form = journal_form(state_dir, kek_file)
    except (ConductorError, OSError) as error:
        why = error.message if isinstance(error, ConductorError) else error.strerror
        return Evidence(Result.MANUAL, f"the journal cannot be looked into: {why}")
    if form is None:
        return Evidence(Result.MANUAL, "there is no journal to look into")
    if not form.is_sealed:
        return Evidence(Result.FAIL, "the journal's file is in clear (looked at)")
    told = f"the journal's file is sealed: {form.looked_at} newest entries looked at"
    if form.unreadable:
        told += f", {form.unreadable} of them do not open with its keys"
    return passed(not form.unreadable, told)
