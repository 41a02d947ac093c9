"""The contract of an intent, field by field, as the rest of the program relies on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeGuard

from conductor_loop.core.durations import parse_duration
from conductor_loop.core.intent import (
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    NAMED_PRIORITIES,
    IntentType,
)

MOST_REPLICAS = 100
REQUIRED = ("intent_type", "target", "namespace", "replicas")
SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})

_TYPES = frozenset(IntentType)
_SOURCES = frozenset({"user", "planner", "test", "automation", ""})
_STATUSES = frozenset({"pending", "processing", "completed", "failed"})

_PART = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_LABEL = re.compile(_PART)
_SUBDOMAIN = re.compile(rf"{_PART}(?:\.{_PART})*")
_CORRELATION_ID = re.compile("[A-Za-z0-9._-]*")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:)([0-9]{2})(?:\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Rule(NamedTuple):
    """What one field must be: a test, and the words for it."""

    is_kept_by: Callable[[object], bool]
    asked_for: str
    hint: str = ""


def is_label(value: object) -> TypeGuard[str]:
    """Tell an RFC 1123 label, as namespaces are: safe as a name of a folder, too."""
    return isinstance(value, str) and len(value) <= 63 and _LABEL.fullmatch(value) is not None


def is_subdomain(value: object) -> TypeGuard[str]:
    """Tell an RFC 1123 subdomain as Kubernetes reads it: never `.` or `..`, never a slash."""
    return isinstance(value, str) and len(value) <= 253 and _SUBDOMAIN.fullmatch(value) is not None


def is_correlation_id(value: object) -> TypeGuard[str]:
    """Tell an id that may stand anywhere; dots alone would name a folder above."""
    return (
        isinstance(value, str)
        and len(value) <= 64
        and _CORRELATION_ID.fullmatch(value) is not None
        and (value == "" or value.strip(".") != "")
    )


def is_whole(value: object) -> TypeGuard[int]:
    """Tell an integer of at least 0; `true` and `3.0` are none."""
    return type(value) is int and value >= 0


def is_replicas(value: object) -> TypeGuard[int]:
    """Tell a number of replicas."""
    return is_whole(value) and value <= MOST_REPLICAS


def is_priority(value: object) -> bool:
    """Tell a priority, as a number or by name."""
    if isinstance(value, str):
        return value in NAMED_PRIORITIES
    return type(value) is int and LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY


def is_timeout(value: object) -> bool:
    """Tell a duration in Go's form that is longer than zero."""
    if not isinstance(value, str):
        return False
    try:
        return parse_duration(value) > timedelta(0)
    except ValueError:
        return False


def is_moment(value: object) -> bool:
    """Tell an RFC 3339 date and time that exists; a leap second only where one can be."""
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return False
    date, minute, second, offset = found.groups()
    is_leap = second == "60"
    try:
        # Python knows no second 60: the one before it stands in.
        moment = datetime.fromisoformat(
            f"{date}T{minute}{'59' if is_leap else second}{offset.upper()}"
        )
        return not is_leap or moment.astimezone(UTC).strftime("%H:%M") == "23:59"
    except (ValueError, OverflowError):
        return False


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most


def _is_one_of(value: object, known: frozenset[str]) -> bool:
    return isinstance(value, str) and value in known


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_list_of(value: object, is_item: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and all(map(is_item, value))


def _is_filled(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _one_of(known: frozenset[str]) -> Rule:
    names = ", ".join(sorted(known - {""}))
    return Rule(partial(_is_one_of, known=known), f"one of {names}")


def _text(most: int) -> Rule:
    return Rule(partial(_is_text, most=most), f"a text of at most {most:,} characters")


_SUBDOMAIN_RULE = Rule(
    is_subdomain,
    "an RFC 1123 subdomain",
    "at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
)
_LABEL_HINT = "at most 63 lower-case letters, digits and '-', with a letter or digit at both ends"
_MOMENT_RULE = Rule(is_moment, "an RFC 3339 date and time", "for example 2024-08-15T10:30:00Z")
_OBJECT_RULE = Rule(_is_object, "an object")
_BOUND_RULE = Rule(is_whole, "an integer of at least 0", "write it without quotes and fraction")

INTENT_RULES = {
    "intent_type": _one_of(frozenset(_TYPES)),
    "target": _SUBDOMAIN_RULE,
    "namespace": Rule(is_label, "an RFC 1123 label", _LABEL_HINT),
    "replicas": Rule(
        is_replicas,
        f"an integer from 0 to {MOST_REPLICAS}",
        "write it without quotes and without a fraction: 3, not 3.0",
    ),
    "reason": _text(512),
    "source": _one_of(_SOURCES),
    "correlation_id": Rule(
        is_correlation_id,
        "an id of at most 64 letters, digits, '-', '_' and '.'",
        "not of dots alone; for example scale-2024-001",
    ),
    "priority": Rule(
        is_priority,
        f"an integer from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, or one of "
        + ", ".join(NAMED_PRIORITIES),
        "leave it out for normal",
    ),
    "timeout": Rule(is_timeout, "a duration above zero", "for example 30s, 5m or 1m30s"),
    "constraints": _OBJECT_RULE,
    "nephio_context": _OBJECT_RULE,
    "target_resources": Rule(
        partial(_is_list_of, is_item=_is_filled), "an array of texts that are not empty"
    ),
    "description": _text(1024),
    "metadata": _OBJECT_RULE,
    "created_at": _MOMENT_RULE,
    "updated_at": _MOMENT_RULE,
    "status": _one_of(_STATUSES),
}
CONSTRAINT_RULES = {
    "min_replicas": _BOUND_RULE,
    "max_replicas": _BOUND_RULE,
    "allowed_namespaces": Rule(
        partial(_is_list_of, is_item=is_label), "an array of RFC 1123 labels", _LABEL_HINT
    ),
    "kpt_package_name": _SUBDOMAIN_RULE,
    "porch_repository": _text(253),
}
NEPHIO_RULES = {
    "package_revision": _text(253),
    "workload_cluster": _text(253),
    "blueprint_name": _text(253),
}


def keeps_contract(document: object) -> bool:
    """Tell a document that keeps every rule, and whose top level has no other fields."""
    return (
        isinstance(document, dict)
        and all(name in document for name in REQUIRED)
        and document.keys() <= INTENT_RULES.keys()
        and _keeps(document, INTENT_RULES)
        and _keeps(document.get("constraints", {}), CONSTRAINT_RULES)
        and _keeps(document.get("nephio_context", {}), NEPHIO_RULES)
    )


def _keeps(members: Mapping[str, object], rules: Mapping[str, Rule]) -> bool:
    return all(rules[name].is_kept_by(value) for name, value in members.items() if name in rules)
