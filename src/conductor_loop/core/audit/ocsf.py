"""Records as events of the Open Cybersecurity Schema Framework, version 1.3 (schema.ocsf.io)."""

from __future__ import annotations

from datetime import datetime

import msgspec

from conductor_loop.core.audit.records import SELF, AuditRecord

VERSION = "1.3.0"
# Classes 6002 (application lifecycle), 6003 (API activity) and 2004 (detection finding).
_LIFECYCLE, _API, _FINDING = 6002, 6003, 2004
_START, _STOP, _CREATE, _READ, _UPDATE, _DELETE, _OTHER = 3, 4, 1, 2, 3, 4, 99
_SEVERITY = {"": 1, "info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
_STATUS = {"success": (1, "Success"), "failure": (2, "Failure")}
# In a finding, the same numbers say how far somebody has got with it.
_NEW = (1, "New")
# The profile whose events may say who acted; API activity always does, and has no such profile.
_WITH_ACTOR = ["host"]
_LIFECYCLES = {
    "security.daemon_started": _START,
    "security.daemon_stopped": _STOP,
    "service.breaker_opened": _OTHER,
    "service.breaker_closed": _OTHER,
}
_ACTIVITIES = {
    "intent.admitted": _CREATE,
    "intent.rejected": _CREATE,
    "intent.quarantined": _CREATE,
    "intent.duplicated": _CREATE,
    "retention.removed": _DELETE,
    "log.pruned": _DELETE,
}

encode = msgspec.json.Encoder().encode


def ocsf_line(record: AuditRecord) -> bytes:
    """One event as one line of JSON."""
    return encode(ocsf_event(record))


def ocsf_event(record: AuditRecord) -> dict[str, object]:
    """One event; what the class does not name stands under `unmapped`."""
    class_uid, activity = _class_of(record)
    status_id, status = _status_of(class_uid, record)
    event: dict[str, object] = {
        "activity_id": activity,
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "message": f"{record.action} {record.resource}",
        "metadata": {
            "correlation_uid": record.correlation_id or record.event_id,
            "log_name": "audit",
            "product": {"name": SELF, "vendor_name": SELF},
            **({} if class_uid == _API else {"profiles": _WITH_ACTOR}),
            "sequence": record.seq,
            "uid": record.event_id,
            "version": VERSION,
        },
        "severity_id": _SEVERITY[record.severity],
        "status": status,
        "status_id": status_id,
        "time": int(datetime.fromisoformat(record.timestamp).timestamp() * 1000),
        "type_uid": class_uid * 100 + activity,
        "unmapped": _unmapped(record),
    }
    if activity == _OTHER:
        event["activity_name"] = record.action
    return event | _class_fields(class_uid, record)


def _class_of(record: AuditRecord) -> tuple[int, int]:
    if record.action in _LIFECYCLES:
        return _LIFECYCLE, _LIFECYCLES[record.action]
    if record.action.startswith("security."):
        return _FINDING, _CREATE
    return _API, _ACTIVITIES.get(record.action, _UPDATE)


def _status_of(class_uid: int, record: AuditRecord) -> tuple[int, str]:
    return _NEW if class_uid == _FINDING else _STATUS.get(record.outcome, (0, "Unknown"))


def _unmapped(record: AuditRecord) -> dict[str, object]:
    proof = {"outcome": record.outcome, "prev": record.prev, "signature": record.signature}
    return {**record.details, **proof}


def _class_fields(class_uid: int, record: AuditRecord) -> dict[str, object]:
    actor = {"user": {"name": record.actor}, "app_name": SELF}
    if class_uid == _LIFECYCLE:
        return {"app": {"name": SELF, "vendor_name": SELF}, "actor": actor}
    if class_uid == _FINDING:
        finding = {"uid": record.event_id, "title": record.action.removeprefix("security.")}
        return {"finding_info": finding, "actor": actor}
    return {
        "actor": actor,
        "api": {"operation": record.action},
        "resources": [{"name": record.resource}],
        # Everything comes from this machine: through a folder or a local socket.
        "src_endpoint": {"name": "localhost"},
    }
