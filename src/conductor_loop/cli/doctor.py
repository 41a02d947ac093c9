"""`conductor-loop doctor`: checks this machine and these folders, and changes nothing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial

from conductor_loop.adapters import checkup
from conductor_loop.adapters.checkup import Finding, Grade
from conductor_loop.adapters.control_socket import ask
from conductor_loop.adapters.handoff.lock import served_elsewhere
from conductor_loop.adapters.intent_check import check_against
from conductor_loop.adapters.start_refusals import check_owners
from conductor_loop.cli.flags import add_settings
from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.core.control import Health
from conductor_loop.core.faults import ConductorError
from conductor_loop.operations.in_force import InForce, in_force
from conductor_loop.operations.journal_finding import journal_finding
from conductor_loop.operations.protection_findings import (
    encryption_findings,
    porch_finding,
    protection_findings,
    sandbox_finding,
)
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import trusted_users
from conductor_loop.settings.tracing import switched_off_by

Check = Callable[[], Finding | None]

NAME = "doctor"
HELP = (
    "Check porch, folders, permissions, file systems, event limits, whether events arrive, the\n"
    "clock and the room on the disks. Of a running daemon it says what that daemon does, of the\n"
    "journal what its file is. Changes nothing; a hidden canary file comes and goes.\n"
    "Exit 0 when the daemon can work here, 1 when something is bad."
)
EXAMPLES = """\
conductor-loop doctor
conductor-loop doctor -handoff /data/in -out /data/out -porch builtin
conductor-loop doctor -producer nephio           # may that user hand files over?
conductor-loop doctor -json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look at."""
    parser.add_argument("--producer", metavar="USER", help="the user that hands files over")
    parser.add_argument("--json", action="store_true", help="for scripts")
    add_settings(
        parser.add_argument_group("what the daemon would be given"),
        *("porch", "porch-sha256", "sandbox", "sandbox-net", "run-as", "out", "max-memory"),
    )
    add_settings(parser.add_argument_group("intents"), "schema")
    add_settings(
        parser.add_argument_group("trust"), "audit-enabled", "encryption-enabled", "key-file"
    )
    add_settings(parser.add_argument_group("logs"), "traces")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Look, and tell."""
    findings = list(_findings(args.producer, settings))
    if args.json:
        print_json(
            [
                {
                    "subject": f.subject,
                    "grade": f.grade.value,
                    "message": f.message,
                    "hint": f.hint,
                }
                for f in findings
            ]
        )
    else:
        for finding in findings:
            print_line(f"{finding.grade.value:8} {finding.subject:12} {finding.message}")
            if finding.hint:
                print_line(f"{'':21} hint: {finding.hint}")
    return 1 if any(finding.grade is Grade.BAD for finding in findings) else 0


def _findings(producer: str | None, settings: Settings) -> Iterator[Finding]:
    known = in_force(settings.state_dir, settings.kek_file)
    for subject, check in _checks(producer, settings, known):
        found = checkup.tried(subject, check)
        if found is not None:
            yield found
    yield from protection_findings(settings, known)
    sealing = checkup.tried("encryption", lambda: list(encryption_findings(settings)))
    yield from sealing if isinstance(sealing, list) else [sealing]
    yield checkup.tried("daemon", lambda: _daemon(settings))


def _checks(
    producer: str | None, settings: Settings, known: InForce
) -> Iterator[tuple[str, Check]]:
    """What is looked at, each by itself: one that fails says nothing of the others."""
    handoff, out, state_dir = settings.handoff, settings.out, settings.state_dir
    users = trusted_users(settings)
    yield "porch", lambda: porch_finding(settings, known)
    yield "sandbox", lambda: sandbox_finding(settings, known)
    yield "handoff", lambda: checkup.check_folder("handoff", handoff)
    for name in checkup.OWN_FOLDERS:
        yield name, partial(checkup.check_own_folder, handoff / name)
    yield "owners", lambda: check_owners(handoff, settings.run_as or "")
    yield "out", lambda: checkup.check_folder("out", out)
    if state_dir != handoff / ".conductor":
        yield "state dir", lambda: checkup.check_folder("state dir", state_dir)
    yield "state modes", lambda: checkup.check_private(state_dir, users)
    yield "state disk", lambda: checkup.check_state_disk(state_dir)
    yield "devices", lambda: checkup.check_same_device(handoff, out)
    yield "event limits", checkup.check_event_limits
    yield "events", lambda: checkup.check_events(handoff)
    yield "clock", lambda: checkup.check_clock(handoff)
    yield "room", lambda: checkup.check_room("room", handoff)
    yield "room for out", lambda: checkup.check_room("room for out", out)
    yield "memory", lambda: checkup.check_memory(settings.memory_mark())
    if producer is not None:
        yield "producer", lambda: checkup.check_producer(producer, handoff)
    yield "journal", lambda: journal_finding(settings)
    yield "schema", lambda: _schema(settings)
    yield "signing key", lambda: _key(settings)
    if settings.traces:
        yield "traces", _traces


def _schema(settings: Settings) -> Finding:
    try:
        check_against(None if settings.schema is None else str(settings.schema))
    except ConductorError as error:
        return Finding("schema", Grade.BAD, error.message, error.hint)
    return Finding("schema", Grade.OK, str(settings.schema or "built in"))


def _key(settings: Settings) -> Finding:
    folder = settings.state_dir / "keys"
    # The folder may be there for the journal's own key alone.
    is_new = not any(checkup.stands(folder / name) for name in ("custody.jsonl", "signing.pem"))
    if is_new and settings.key_file is None:
        return Finding("signing key", Grade.OK, "one will be made at start")
    from conductor_loop.adapters.keys.private import given_key
    from conductor_loop.adapters.keys.store import key_in_use

    try:
        if is_new and settings.key_file is not None:
            kid = given_key(settings.key_file).kid
            return Finding("signing key", Grade.OK, f"{kid}, given; in use from the next start on")
        key = key_in_use(settings.state_dir, given=settings.key_file)
    except ConductorError as error:
        return Finding("signing key", Grade.BAD, error.message, error.hint)
    return Finding("signing key", Grade.OK, f"{key.kid}, private")


def _traces() -> Finding:
    from conductor_loop.operations.traces import complaints, destination

    switch = switched_off_by(os.environ)
    if switch:
        return Finding("traces", Grade.OK, f"switched off by {switch}")
    try:
        misunderstood = complaints(os.environ)
    except ConductorError as error:
        return Finding("traces", Grade.BAD, error.message, error.hint)
    told = f"go to {destination(os.environ)}"
    if not misunderstood:
        return Finding("traces", Grade.OK, told)
    return Finding(
        "traces",
        Grade.WARNING,
        f"{told}; OpenTelemetry goes on without some settings: {'; '.join(misunderstood)}",
        "correct those OTEL_* variables, or leave them out",
    )


def _daemon(settings: Settings) -> Finding:
    try:
        reply = ask(settings.state_dir, Health())
    except ConductorError as error:
        return Finding("daemon", Grade.BAD, error.message, error.hint)
    if reply is None:
        other = served_elsewhere(settings.handoff, settings.state_dir)
        if other is not None:
            return Finding("daemon", Grade.WARNING, other.message, other.hint)
        return Finding("daemon", Grade.OK, "none runs here")
    bad = ", ".join(check.name for check in reply.checks if not check.ok)
    if bad:
        told = f"runs as pid {reply.pid}, not ready: {bad}"
        return Finding("daemon", Grade.WARNING, told, "conductor-loop health says more")
    notes = "".join(f"; {check.name}: {check.message}" for check in reply.checks if check.message)
    return Finding("daemon", Grade.OK, f"runs as pid {reply.pid} and is ready{notes}")
