"""How bytes become an `Intent`, or every fault at once.

The schema says most of the contract to producers, and speaks first; an operator may replace it. So
the rules that the rest of the program relies on stand here once more, with those that no schema
can express. A pointer names the place of a fault; of a missing field, where it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from conductor_loop.core.contract import (
    CONSTRAINT_RULES,
    INTENT_RULES,
    NEPHIO_RULES,
    REQUIRED,
    SYSTEM_NAMESPACES,
    Rule,
    is_correlation_id,
    is_label,
    is_replicas,
    is_subdomain,
    is_whole,
)
from conductor_loop.core.durations import parse_duration
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import (
    HIGHEST_PRIORITY,
    NAMED_PRIORITIES,
    NORMAL_PRIORITY,
    Constraints,
    Intent,
    IntentType,
    NephioContext,
    Target,
)
from conductor_loop.core.namespaces import EVERY_NAMESPACE, NamespacePolicy
from conductor_loop.core.quoting import pointer_to, quoted
from conductor_loop.core.strict_json import parse_strict

MOST_FAULTS = 50
"""Reported for one document; the verdict carries them all, so their number is bounded."""

Members = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What an operator may decide about intents."""

    check_schema: Callable[[object], Sequence[Fault]]
    allow_system_namespaces: frozenset[str] = frozenset()
    namespaces: NamespacePolicy = EVERY_NAMESPACE
    max_priority: int = HIGHEST_PRIORITY
    """What an intent asks for beyond it counts as this: producers declare it of themselves."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a document is no intent, and what could be read safely of it, each "" if nothing."""

    faults: tuple[Fault, ...]
    namespace: str = ""
    target: str = ""
    correlation_id: str = ""


def read_intent(body: bytes, rules: IntakeRules) -> Intent | Unreadable:
    """Judge the bytes of one file; never raises, whatever they are."""
    document = parse_strict(body)
    if isinstance(document, Fault):
        return Unreadable((document,))
    if not isinstance(document, dict):
        return Unreadable((_not_an_object(document),))
    if "apiVersion" in document and "kind" in document:
        return Unreadable((_kubernetes_style(document),))
    faults = _faults(document, rules)
    if faults:
        return Unreadable(_bounded(faults), *legible_target(document))
    return _intent(document, rules.max_priority)


def reread_intent(body: bytes) -> Intent | Fault:
    """Read what was admitted before, without judging it again: rules may have changed since."""
    document = parse_strict(body)
    if isinstance(document, Fault):
        return document
    try:
        return _intent(document, HIGHEST_PRIORITY)
    except (msgspec.ValidationError, KeyError, ValueError) as error:
        return Fault("intent_unreadable", f"the admitted intent cannot be read: {error}")


def legible_target(document: object) -> tuple[str, str, str]:
    """Take namespace, target and correlation id of a document, each "" unless it is in order."""
    if not isinstance(document, dict):
        return "", "", ""
    namespace, target, correlation_id = map(document.get, ("namespace", "target", "correlation_id"))
    return (
        namespace if is_label(namespace) else "",
        target if is_subdomain(target) else "",
        correlation_id if is_correlation_id(correlation_id) else "",
    )


def _not_an_object(document: object) -> Fault:
    return Fault(
        "not_an_object",
        f"the document is {quoted(document)}, not an object",
        "an intent is written in braces: see `conductor-loop schema`",
    )


def _kubernetes_style(document: Members) -> Fault:
    kind, version = quoted(document["kind"]), quoted(document["apiVersion"])
    return Fault(
        "kubernetes_style_unsupported",
        f"a Kubernetes-style document (kind {kind}, apiVersion {version}) is not supported yet",
        "write intent_type, target, namespace and replicas at the top level, without metadata and "
        "spec: see `conductor-loop schema`",
    )


def _faults(document: Members, rules: IntakeRules) -> list[Fault]:
    found = list(rules.check_schema(document))
    spoken_for = _places(found)
    found += [f for f in _contract_faults(document) if f.pointer not in spoken_for]
    found += _bound_faults(document)
    found += _namespace_faults(document, rules)
    return found


def _places(faults: Sequence[Fault]) -> set[str]:
    """Collect the pointers of faults and of all that encloses them."""
    places = set()
    for fault in faults:
        pointer = fault.pointer
        while pointer:
            places.add(pointer)
            pointer = pointer.rpartition("/")[0]
    return places


def _bounded(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    more = len(faults) - MOST_FAULTS
    if more <= 0:
        return tuple(faults)
    rest = Fault("more_faults", f"there are at least {more} more faults", "mend these first")
    return (*faults[:MOST_FAULTS], rest)


def _contract_faults(document: Members) -> Iterator[Fault]:
    for name in REQUIRED:
        if name not in document:
            hint = f"add it: {INTENT_RULES[name].asked_for}"
            yield Fault("field_missing", f"the field {quoted(name)} is missing", hint, f"/{name}")
    yield from _broken(document, INTENT_RULES, "")
    yield from _broken(document.get("constraints"), CONSTRAINT_RULES, "/constraints")
    yield from _broken(document.get("nephio_context"), NEPHIO_RULES, "/nephio_context")


def _broken(members: object, rules: Mapping[str, Rule], place: str) -> Iterator[Fault]:
    if not isinstance(members, dict):
        return
    for name, value in members.items():
        rule = rules.get(name)
        if rule is not None and not rule.is_kept_by(value):
            message = f"found {quoted(value)}, where {rule.asked_for} is asked for"
            yield Fault(f"{name}_invalid", message, rule.hint, pointer_to(place, name))


def _bound_faults(document: Members) -> Iterator[Fault]:
    """Hold the intent to its own constraints, as far as both sides are in order."""
    constraints = document.get("constraints")
    if not isinstance(constraints, dict):
        return
    replicas, namespace = document.get("replicas"), document.get("namespace")
    least, most = constraints.get("min_replicas"), constraints.get("max_replicas")
    allowed = constraints.get("allowed_namespaces")
    if is_replicas(replicas) and is_whole(least) and replicas < least:
        yield _out_of_bounds("min_replicas", f"{replicas} replicas, at least {least} are allowed")
    if is_replicas(replicas) and is_whole(most) and replicas > most:
        yield _out_of_bounds("max_replicas", f"{replicas} replicas, at most {most} are allowed")
    if is_label(namespace) and isinstance(allowed, list) and namespace not in allowed:
        named = ", ".join(map(quoted, allowed[:10])) or "none"
        yield Fault(
            "constraint_allowed_namespaces",
            f"the namespace {quoted(namespace)} is not among constraints.allowed_namespaces: "
            f"{named}{', …' if len(allowed) > 10 else ''}",
            "name one of them, or change the constraint",
            "/namespace",
        )


def _out_of_bounds(constraint: str, message: str) -> Fault:
    return Fault(
        f"constraint_{constraint}",
        f"{message} by constraints.{constraint}",
        "change replicas, or the constraint",
        "/replicas",
    )


def _namespace_faults(document: Members, rules: IntakeRules) -> Iterator[Fault]:
    namespace = document.get("namespace")
    if not is_label(namespace):
        return
    if namespace in SYSTEM_NAMESPACES and namespace not in rules.allow_system_namespaces:
        yield Fault(
            "system_namespace",
            f"{quoted(namespace)} belongs to Kubernetes itself and is refused",
            "name another namespace, or allow this one with -allow-system-namespaces",
            "/namespace",
        )
    fault = rules.namespaces.fault(namespace)
    if fault is not None:
        yield fault


class _Document(msgspec.Struct):
    """A document that has passed every rule, as types; what is for information only stays out."""

    intent_type: IntentType
    target: str
    namespace: str
    replicas: int
    reason: str = ""
    source: str = ""
    correlation_id: str = ""
    priority: int | str = NORMAL_PRIORITY
    timeout: str | None = None
    constraints: Constraints = Constraints()
    nephio_context: NephioContext = NephioContext()
    description: str = ""
    metadata: dict[str, object] = {}


def _intent(document: object, max_priority: int) -> Intent:
    read = msgspec.convert(document, _Document)
    asked = read.priority
    priority = NAMED_PRIORITIES[asked] if isinstance(asked, str) else asked
    return Intent(
        intent_type=read.intent_type,
        target=Target(read.namespace, read.target),
        replicas=read.replicas,
        priority=min(priority, max_priority),
        timeout=parse_duration(read.timeout) if read.timeout is not None else None,
        reason=read.reason,
        source=read.source,
        correlation_id=read.correlation_id,
        description=read.description,
        constraints=read.constraints,
        nephio_context=read.nephio_context,
        metadata=read.metadata,
    )
