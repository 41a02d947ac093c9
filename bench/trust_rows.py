"""The row about trust: throughput with every protection on, beside the same with some off."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
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
)
