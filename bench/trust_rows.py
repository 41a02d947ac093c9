"""The rows about trust: throughput with protections on and off, and what proving costs."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.ground import ground
from bench.machine import CannotMeasure, spawn_rate
from bench.rows import Measured, Row, Setting

_COUNT = 1_000
_NO_AUDIT = {"CONDUCTOR_AUDIT_ENABLED": "false"}
_NO_SEAL = {"CONDUCTOR_ENCRYPTION_ENABLED": "false"}
_NO_SANDBOX = {"CONDUCTOR_SANDBOX": "none"}
_NONE = {**_NO_AUDIT, **_NO_SEAL, "CONDUCTOR_SECURITY_ENABLED": "false"}
_WITHOUT: Mapping[str, Mapping[str, str]] = {
    "audit": _NO_AUDIT,
    "sealing": _NO_SEAL,
    "sandbox": _NO_SANDBOX,
    "all of it": _NONE,
}


def shares(setting: Setting) -> Measured:
    """Rate with everything on, as a share of that without one thing; in turns, median of pairs."""
    porch = setting.porch()
    pairs: dict[str, list[float]] = {name: [] for name in _WITHOUT}
    on, off, raw = list[float](), list[float](), list[float]()
    for _ in range(3 if setting.quick else 7):
        raw.append(spawn_rate(setting.tools, Path(porch)))
        on.append(_rate(setting, porch, {}))
        for name, environment in _WITHOUT.items():
            rate = _rate(setting, porch, environment)
            pairs[name].append(on[-1] / rate)
        off.append(rate)
    share = {name: statistics.median(each) for name, each in pairs.items()}
    of_raw, bare = (
        statistics.median([rate / spawns for rate, spawns in zip(rates, raw, strict=True)])
        for rates in (on, off)
    )
    told = ", ".join(f"{each:.0%} of that without {name}" for name, each in share.items())
    return Measured(
        f"{statistics.median(on):,.0f} /s: {told}; {of_raw:.2f} of raw, {bare:.2f} without all",
        {**{f"share_{n.split()[0]}": s for n, s in share.items()}, "ratio": of_raw, "bare": bare},
        met=share["audit"] >= 0.75 and share["sandbox"] >= 0.75 and bare >= 0.25,
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one run cost, in CPU seconds of the daemon's own process."""

    process: float
    audit: float
    verdicts: float
    signature: float
    signatures: int


def signing(setting: Setting) -> Measured:
    """CPU of signing and audit as a share of the daemon's in the same run; median of runs.

    Signing cannot be switched off, so it is not compared with a run without. What an empty run
    costs is taken off each figure, as it is from rates.
    """
    porch = setting.porch()
    costs = [_cost(setting, porch) for _ in range(3 if setting.quick else 7)]
    audit = statistics.median(cost.audit / cost.process for cost in costs)
    verdicts = statistics.median(cost.verdicts / cost.process for cost in costs)
    share = statistics.median((cost.audit + cost.verdicts) / cost.process for cost in costs)
    each = statistics.median(cost.signature / cost.signatures for cost in costs) * 1e6
    count = statistics.median(cost.signatures for cost in costs)
    return Measured(
        f"{share:.0%} of the daemon's CPU: audit with its signatures {audit:.0%}, verdicts"
        f" {verdicts:.0%}; {count:,.0f} signatures of {each:.0f} µs",
        {
            "share": share,
            "share_audit": audit,
            "share_verdicts": verdicts,
            "signatures": count,
            "signature_microseconds": each,
            "cpu_seconds": statistics.median(cost.process for cost in costs),
        },
        met=share <= 0.25,
    )


def _cost(setting: Setting, porch: str) -> _Cost:
    """A run's cost, less that of an empty run of the same kind."""
    with ground(setting.parent) as place:
        file = place.staging / "cost.json"
        program = (sys.executable, "-P", str(Path(__file__).with_name("cost.py")), str(file))
        place.once("-porch", porch, program=program)
        empty = json.loads(file.read_bytes())
        place.hand_over(place.stage(0, _COUNT))
        place.settle_disk()
        place.once("-porch", porch, program=program)
        full = json.loads(file.read_bytes())
        if place.verdicts() != _COUNT:
            raise CannotMeasure(f"{place.verdicts()} verdicts for {_COUNT} intents")

    def spent(label: str) -> float:
        return float(full["seconds"].get(label, 0.0) - empty["seconds"].get(label, 0.0))

    return _Cost(
        process=full["process"] - empty["process"],
        audit=spent("audit"),
        verdicts=spent("verdicts"),
        signature=spent("signature"),
        signatures=full["calls"]["signature"] - empty["calls"]["signature"],
    )


def _rate(setting: Setting, porch: str, environment: Mapping[str, str]) -> float:
    """Intents a second, without the time of an empty run of the same kind."""
    with ground(setting.parent) as place:
        empty = place.once("-porch", porch, environment=environment).seconds
        place.hand_over(place.stage(0, _COUNT))
        place.settle_disk()
        seconds = place.once("-porch", porch, environment=environment).seconds
        if place.verdicts() != _COUNT:
            raise CannotMeasure(f"{place.verdicts()} verdicts for {_COUNT} intents")
    return _COUNT / (seconds - empty)


TRUST_ROWS = (
    Row(
        "trust",
        "`-once`, 1,000, no-op porch, everything on",
        "–",
        "75% of that without audit, and without sandbox; 0.25 of raw without all",
        shares,
    ),
    Row(
        "signing",
        "`-once`, 1,000, no-op porch: CPU of signing and audit",
        "–",
        "25% of the daemon's CPU",
        signing,
    ),
)
