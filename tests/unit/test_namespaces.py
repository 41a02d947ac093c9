"""Which namespaces intents may name: lists of names and beginnings, and the denying one wins."""

from __future__ import annotations

import pytest

from conductor_loop.core.namespaces import NamespacePolicy


@pytest.mark.parametrize(
    ("allow", "deny", "namespace", "code"),
    [
        ((), (), "oran-sim", None),
        (("oran-sim",), (), "oran-sim", None),
        (("oran-sim",), (), "oran-sim-2", "namespace_not_allowed"),
        (("edge-*",), (), "edge-1", None),
        (("edge-*",), (), "edge", "namespace_not_allowed"),
        (("edge*",), (), "edge", None),
        (("a", "b"), (), "b", None),
        ((), ("prod-*",), "prod-eu", "namespace_denied"),
        ((), ("prod-*",), "pre-prod-eu", None),
        (("prod-eu",), ("prod-*",), "prod-eu", "namespace_denied"),
        (("*",), ("prod",), "prod", "namespace_denied"),
        ((), ("*",), "oran-sim", "namespace_denied"),
    ],
)
def test_a_namespace_is_judged_by_both_lists_and_denial_wins(
    allow: tuple[str, ...], deny: tuple[str, ...], namespace: str, code: str | None
) -> None:
    fault = NamespacePolicy(allow, deny).fault(namespace)
    assert (fault.code if fault else None) == code
    if fault is not None:
        assert fault.pointer == "/namespace"
        assert namespace in fault.message
        assert fault.hint


def test_a_denial_names_the_pattern_that_decided() -> None:
    fault = NamespacePolicy(deny=("other", "prod-*")).fault("prod-eu")
    assert fault is not None
    assert "prod-*" in fault.message
