"""The page of all codes: of refused intents, failed attempts, stopped commands, proofs, notices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from conductor_loop.adapters.builtin.package_folder import _FAILURES
from conductor_loop.core.security_events import KINDS
from docs.printed.declared_codes import OR, UNKNOWN, Declared, declared_codes
from docs.printed.tables import code, plain, table

INTAKE = Path(__file__).parents[1] / "intake.md"
_OPENING = """\
# Error codes

Look a code up here: what it says, and what to do. A code never changes once released, so scripts
may match on it; the words around it may change. `…` stands for what is filled in at run time.
This page is printed from the code by `python -m docs.printed`; a test keeps the two equal.

| a code stands in | |
|---|---|
| a verdict | `error.code`, and `error.faults[].code` for a rejected intent |
| `failed/NAME.error.log`, `conductor-loop why` | in brackets, behind its message |
| what a command prints | with `--json`: `error`, `mistakes`, `refusals`, `faults` |
| the audit log | `details.code`, `details.codes`; a notice is `security.CODE` |
| `/metrics` | `conductor_alerts_total{code="…"}`, for notices |

"""
_REFUSED = """\
The file goes to `failed/` (what is no regular file to quarantine) and nothing is run. Hand the
corrected file over again, under the same name or another.
[What may come in](intake.md) explains the rules behind them.
"""
_FAILED = """\
The last column says what follows: **failed** at once; **tried again** after a pause,
`-max-attempts` times, then failed (in an outage of porch none counts); **waits**: the fault is
the environment's, nothing is counted, and the queue goes on by itself when it is over
([why](decisions/0006-an-outage-is-nobodys-failure.md)).
"""
_STOPPED = """\
The daemon does not start or stops, or a command cannot do what was asked. Exit status 1, and 2 for
`usage`. Nothing that was handed over is lost.
"""
_PROOF = """\
Told by `conductor-loop verify` about verdicts and signed reports, and by `keys show` about keys;
exit status 8. [Verifying a verdict](verify.md) says how it is done.
"""
_AUDIT = """\
Told by `conductor-loop audit verify`, with the record; exit status 8. [The audit log](audit.md)
says what each means.
"""
_NOTICES = """\
Noticed by the daemon, journalled, told in the log and in the audit log as `security.CODE`, and
counted by `conductor_alerts_total`. `conductor-loop health` sums them up;
[Detection](detection.md) says when each is raised.
"""
_RENDERED = """\
Told by the built-in publisher (`-porch builtin`), `conductor-loop render` and `conductor-porch`;
the intent fails, and is not tried again.
"""
_FOLLOWS = {
    "permanent": "failed",
    "temporary": "tried again",
    "crashed": "tried again",
    "crash_loop": "failed",
    "timeout": "tried again, then `timeout`",
    "environment": "waits",
    "": "tried again",
}
# Where the source chooses between texts in a way that cannot be read off it.
_BETTER = {
    "json_number_too_great": (
        "the number … is beyond what every JSON parser holds exactly",
        "stay below 2^53 (9007199254740992), or write it as a text",
    ),
    "json_number_too_long": (
        "the number … has … characters, at most … are read",
        "round it, or write it as a text",
    ),
    "out_replaced": (
        "… is not the folder that was there at the start: …",
        "put it back (or, where porch is not confined, make it again), and the queue goes on by "
        "itself; or restart conductor-loop, to go on with what stands there then",
    ),
    "porch_changed": (
        "… was changed under the running daemon: its SHA-256 is …, and was …",
        "if that was meant, run conductor-loop resume, which accepts it unless another is pinned, "
        "or, where the sandbox is open to the old file alone, restart conductor-loop; else put the "
        "old one back and find out who did it: the queue waits and goes on by itself",
    ),
    "spool_failed": (
        "the copy of the intent for porch cannot be written: …",
        "check the state dir and its disk",
    ),
    "spool_no_room": (
        "the copy of the intent for porch cannot be written: …",
        "make room in the state dir",
    ),
    "already_running": (
        "another daemon serves … : pid … on …, since …",
        "one daemon serves one handoff folder with one state dir; stop that one first",
    ),
    "final_twice": ("… becomes final, and was final before, with record …", ""),
    "not_a_record": ("the line is no record, or not written as records are", ""),
}
_WITHOUT_HINT = {
    "usage": "the hint that comes with it names the flag, variable or key, and what it takes",
    "cannot_start": "the hint that comes with it names the next step",
    "error": "the hint that comes with it names the next step",
    "http_secret_unusable": "make it a file that the daemon's user alone may read",
    "journal_damaged": "start the daemon: it sets aside what it cannot trust; or restore a backup",
    "journal_incomplete": "restore a backup; or go on from what is there: `state rebuild`",
    "refused": "see how it stands: `conductor-loop why`",
    "no_room": "make room, then start again",
    "not_allowed": "run the command as the daemon's user, or as root",
    "not_understood": "use the `conductor-loop` of the daemon's version",
    "intent_unreadable": "hand the file over again",
}
_PER_PLACE = "the error log names the place and what is asked for there"


@dataclass(frozen=True, slots=True)
class Row:
    """One code of a section."""

    code: str
    message: str
    hint: str
    kind: str = ""


def page() -> str:
    """Write the whole page."""
    declared = declared_codes()
    proofs = _rows(declared, _OF_PROOFS)
    sections = (
        ("An intent is refused", _REFUSED, _table(_refused(declared))),
        ("A package cannot be rendered", _RENDERED, _table(_rows(declared, ("core/packages/",)))),
        ("An attempt did not succeed", _FAILED, _attempts(declared)),
        ("The daemon, or a command, cannot go on", _STOPPED, _table(_stopped(declared))),
        (
            "A signature or a verdict is not good",
            _PROOF,
            _table(proofs, _DISBELIEVE),
        ),
        ("The audit log does not hold", _AUDIT, _table(_of_audit(declared), hints=False)),
        ("Something was noticed", _NOTICES, _notices()),
    )
    return _OPENING + "\n".join(
        f"## {head}\n\n{text.strip()}\n\n{rows}" for head, text, rows in sections
    )


_OF_INTENTS = ("core/admission.py", "core/strict_json.py", "core/reading.py", "core/namespaces.py")
_OF_ATTEMPTS = ("Failure", "_Meaning")
_OF_PROOFS = (
    "core/jws.py",
    "core/proof.py",
    "core/canonical.py",
    "core/custody.py",
    "adapters/verdict_files.py",
    "adapters/signed_things.py",
)
_DISBELIEVE = "do not believe it; compare it with a copy, or with `conductor-loop why`"
_OF_AUDIT = ("core/audit/", "operations/audit_proof.py")
_NOT_RAISED = {"Fault", "Broken", "Finding", "_at", *_OF_ATTEMPTS}


def _rows(declared: Iterable[Declared], modules: tuple[str, ...]) -> Iterator[Row]:
    for one in declared:
        if one.module.startswith(modules):
            yield Row(one.code, one.message, one.hint, one.kind)


def _refused(declared: Iterable[Declared]) -> Iterator[Row]:
    """Those that the source spells out; the others as the page on intake has them."""
    found = list(_rows(declared, _OF_INTENTS))
    known = {row.code for row in found}
    for name, why in re.findall(r"(?m)^\| `(\w+)` \| (.*) \|$", INTAKE.read_text(encoding="utf-8")):
        if name not in known:
            hint = _SPECIAL if name.startswith("special_") else _PER_PLACE
            found.append(Row(name, why.replace("`", ""), hint))
    return iter(found)


_SPECIAL = "hand over a regular file: write it under another name and rename it"


def _attempts(declared: Iterable[Declared]) -> str:
    rows = [
        Row(one.code, one.message, one.hint, one.kind)
        for one in declared
        if one.form in _OF_ATTEMPTS and not one.module.startswith("core/reconciling")
    ]
    kind, message = "environment", f"cannot write {UNKNOWN}: {UNKNOWN}"
    rows += [Row(name, message, hint, kind) for name, hint in _FAILURES.values()]
    rows.append(Row("out_failed", message, "look at the disk and its mounts", kind))
    lines = [
        (code(name), message, hint, _next(same))
        for name, same in _by_code(rows)
        for message, hint in _pairs(same)
    ]
    return table(("code", "message", "what to do", "then"), lines)


def _next(rows: list[Row]) -> str:
    kinds = (row.kind for row in rows if row.kind)
    return _FOLLOWS.get(rows[0].code) or _FOLLOWS[next(kinds, "")]


def _stopped(declared: Iterable[Declared]) -> Iterator[Row]:
    for one in declared:
        if one.form not in _NOT_RAISED:
            yield Row(one.code, one.message, one.hint)


def _of_audit(declared: Iterable[Declared]) -> Iterator[Row]:
    yield from _rows(declared, _OF_AUDIT)
    yield Row("gap_unexplained", "journal entries are in no record, and nothing says why", "")
    yield Row("gap_journal_replaced", "the daemon found an older journal than the log tells of", "")


def _notices() -> str:
    rows = [(code(name), str(severity), meaning) for name, (severity, meaning) in KINDS.items()]
    return table(("code", "severity", "meaning"), rows)


def _table(rows: Iterable[Row], default: str = "", *, hints: bool = True) -> str:
    lines = []
    for name, same in _by_code(rows):
        for message, hint in _pairs(same):
            told = hint or _WITHOUT_HINT.get(name, default)
            lines.append([code(name), message, told] if hints else [code(name), message])
    return table(("code", "message", "what to do") if hints else ("code", "message"), lines)


def _by_code(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        message, hint = _BETTER.get(row.code, (row.message, row.hint))
        found.setdefault(row.code, []).append(replace(row, message=message, hint=hint))
    return iter(sorted(found.items()))


def _pairs(rows: Iterable[Row]) -> Iterable[tuple[str, str]]:
    """Each different message with its hint, but for those that are filled in as a whole."""
    pairs = {(_worded(row.message), _worded(row.hint)): None for row in rows}
    return [pair for pair in pairs if pair[0]] or [(UNKNOWN, hint) for _, hint in pairs]


def _worded(text: str) -> str:
    texts = [plain(one) for one in text.split(OR) if one.strip(UNKNOWN + " ")]
    return "; or: ".join(texts)
