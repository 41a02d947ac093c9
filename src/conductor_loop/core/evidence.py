"""Whether a verdict still is what the journal says, whoever signed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conductor_loop.core.records import Entry
from conductor_loop.core.verdict import Service, build_verdict


def differing_fields(document: Mapping[str, object], history: Sequence[Entry]) -> Sequence[str]:
    """The fields in which a verdict is not the one that an intent's history makes.

    What only the daemon of that time knew (its version, its settings) is taken from the verdict.
    """
    service = Service(
        conductor_version=_text(document, "conductor_version"),
        mode=_text(document, "mode"),
        porch_path=_text(document, "porch_path"),
        config_sha256=_text(document, "config_sha256"),
    )
    expected = build_verdict(history, service)
    if expected is None:
        return ["status"]
    return [name for name, value in expected.items() if document.get(name) != value]


def outputs_of(document: Mapping[str, object]) -> dict[str, str]:
    """The files that a verdict tells of, relative to OUT, with their SHA-256."""
    outputs = document.get("outputs")
    if not isinstance(outputs, list):
        return {}
    return {o["path"]: o["sha256"] for o in outputs if isinstance(o, dict)}


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
