"""The page of the audit record: its fields, its JSON schema, and two records as examples."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from datetime import UTC, datetime
from typing import Any

import msgspec.structs

from conductor_loop.core.audit.records import AuditRecord, Details, encode_line, record_of
from conductor_loop.core.events import Admitted, Receipt, Started
from conductor_loop.core.records import Entry
from docs.printed.tables import code, plain, table

_OPENING = """\
# The audit record

Every field of a line of `STATE-DIR/audit/*.jsonl`, for programs that read it. This page is printed
from the code by `python -m docs.printed`; a test keeps the two equal. [The audit log](audit.md)
says what the log proves, which actions there are, and how to check it without this program.

A record is one line of canonical JSON (RFC 8785): fields in this order, no space, no fraction.

"""
_TYPES = {str: "string", int: "integer", int | None: "integer", Details: "object"}
Schema = dict[str, Any]
_ID = "01KJPXQ5Z1S2W0V8CDMDKWQ6M1"
_BEFORE = hashlib.sha256(b"the line before").hexdigest()


def page() -> str:
    """Write the whole page."""
    schema = record_schema()
    rows = (
        (
            code(name),
            field["type"],
            "always" if name in schema["required"] else "where it applies",
            plain(field["description"]),
        )
        for name, field in sorted(schema["properties"].items())
    )
    return "\n".join(
        [
            _OPENING + table(("field", "type", "there", "meaning"), rows),
            "## JSON schema\n",
            f"```json\n{json.dumps(schema, indent=2, ensure_ascii=False)}\n```\n",
            "## Examples\n",
            "A file is claimed and taken; its first attempt starts. The newest record of each\n"
            "write carries a `signature` besides.\n",
            f"```json\n{_examples()}```\n",
        ]
    )


def record_schema() -> Schema:
    """The fields as the class has them; what is empty is left out, and never null."""
    meanings = _meanings()
    fields = msgspec.structs.fields(AuditRecord)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            field.name: {"description": meanings[field.name], "type": _TYPES[field.type]}
            for field in fields
        },
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }


def _meanings() -> dict[str, str]:
    """The sentence below each field of the class."""
    body = ast.parse(inspect.getsource(AuditRecord)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = str(ast.literal_eval(below.value))
    return found


def _examples() -> str:
    at = datetime(2026, 3, 2, 9, 16, 31, tzinfo=UTC)
    receipt = Receipt(
        name=b"intent-scale-up-001.json",
        received_at=at,
        size=217,
        digest="68e10839890b8c89a67c61d13c5cc0ee0d6b7d04e61a98ffc2ba72f1010c4592",
        submitted_by="alice",
    )
    admitted = Admitted(
        receipt=receipt,
        namespace="oran-sim",
        target="cnf-simulator",
        priority=5,
    )
    entries = (
        Entry(3, at, admitted, _ID, correlation_id="scale-2024-001"),
        Entry(4, at, Started(attempt=1), _ID, correlation_id="scale-2024-001"),
    )
    lines, prev = [], _BEFORE
    for number, entry in enumerate(entries, 4):
        record = record_of(entry)
        record.seq, record.prev = number, prev
        line = encode_line(record)
        prev = hashlib.sha256(line).hexdigest()
        lines.append(line.decode() + "\n")
    return "".join(lines)
