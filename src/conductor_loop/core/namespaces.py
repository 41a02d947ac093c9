"""Which namespaces an operator lets intents name: exact names and `prefix-*` patterns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from conductor_loop.core.faults import Fault
from conductor_loop.core.quoting import quoted


@dataclass(frozen=True, slots=True)
class NamespacePolicy:
    """Two lists; a namespace that both name is denied."""

    allow: tuple[str, ...] = ()
    """None but these; empty: every namespace."""
    deny: tuple[str, ...] = ()

    def fault(self, namespace: str) -> Fault | None:
        """Judge a namespace; the fault names the pattern that decided, so that it can be found."""
        denying = _first_match(self.deny, namespace)
        if denying is not None:
            return Fault(
                "namespace_denied",
                f"the namespace {quoted(namespace)} is denied here, by {quoted(denying)}",
                "name another namespace, or take that pattern out of -deny-namespaces",
                "/namespace",
            )
        if self.allow and _first_match(self.allow, namespace) is None:
            return Fault(
                "namespace_not_allowed",
                f"the namespace {quoted(namespace)} is none of those allowed here",
                "name another namespace, or add this one to -allow-namespaces",
                "/namespace",
            )
        return None


EVERY_NAMESPACE = NamespacePolicy()


def _first_match(patterns: Iterable[str], namespace: str) -> str | None:
    return next((pattern for pattern in patterns if _matches(pattern, namespace)), None)


def _matches(pattern: str, namespace: str) -> bool:
    if pattern.endswith("*"):
        return namespace.startswith(pattern[:-1])
    return namespace == pattern
