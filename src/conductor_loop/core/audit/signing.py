"""How a record is signed: a detached JWS over the line as it stands without its signature."""

from __future__ import annotations

import msgspec

from conductor_loop.core.audit.records import AuditRecord, encode_line
from conductor_loop.core.faults import Fault
from conductor_loop.core.jws import AUDIT, FIELD, Sign, Verifier, detached_jws, signature_fault


def signed(record: AuditRecord, kid: str, sign: Sign) -> AuditRecord:
    """The record with its signature, which the chain makes one of everything before it."""
    return msgspec.structs.replace(
        record, signature=detached_jws(_document(record), AUDIT, kid, sign)
    )


def record_fault(record: AuditRecord, keys: Verifier) -> Fault | None:
    """Tell what is wrong with the signature of a signed record; None when it holds."""
    return signature_fault({**_document(record), FIELD: record.signature}, AUDIT, keys)


def _document(record: AuditRecord) -> dict[str, object]:
    unsigned = msgspec.structs.replace(record, signature="")
    return msgspec.json.decode(encode_line(unsigned), type=dict[str, object])
