"""What the daemon tells the process that answers HTTP: how to serve, then how it is, in lines."""

from __future__ import annotations

from bisect import bisect_left
from enum import StrEnum

import msgspec

from conductor_loop.core.control import Check

PROCESSING_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
"""Seconds from the claim to the final state; waiting may be long."""
PORCH_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds of one attempt."""


class Role(StrEnum):
    """What a listening socket serves."""

    PAGE = "page"
    """Everything."""
    METRICS = "metrics"
    """Probes and metrics, which name no intent."""
    PROBES = "probes"


class Listening(msgspec.Struct, frozen=True):
    """One listening socket that the process inherits."""

    descriptor: int
    role: Role
    is_plain: bool = True
    """Without TLS."""


class Serving(msgspec.Struct, frozen=True):
    """The first line: everything that the process is told about its task. Paths are absolute."""

    listening: tuple[Listening, ...]
    version: str
    handoff: str
    out: str
    state_dir: str
    kek_file: str
    """Empty: where the state dir has it."""
    token_file: str
    certificate: str
    key: str
    client_ca: str
    hosts: tuple[str, ...]
    """Names under which the page may be asked for, besides addresses and localhost."""
    rate_count: int
    """How many requests of one client in `rate_seconds`; 0: no limit."""
    rate_seconds: int
    confinement: tuple[str, ...]
    """Words for `confinement.obey`."""
    sealed_off: tuple[str, ...]
    """The same for when the journal is open; narrower."""
    is_traced: bool = False
    """Whether each intent has a trace."""


class Histogram(msgspec.Struct):
    """How many values fell below each bound but not below the one before; the last has none."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def histogram(bounds: tuple[float, ...]) -> Histogram:
    """An empty one."""
    return Histogram(bounds, [0] * (len(bounds) + 1))


class Loop(msgspec.Struct, frozen=True):
    """One loop of the daemon: how often it came round, and whether it has anything to do."""

    name: str
    beats: int
    is_due: bool
    patience: float
    """Seconds for which it may be due without a beat."""


class Process(msgspec.Struct, frozen=True):
    """What the daemon's process uses."""

    cpu_seconds: float = 0.0
    resident_bytes: int = 0
    open_files: int = 0
    most_files: int = 0
    started_at: float = 0.0
    """Seconds since 1970."""


class Attempt(msgspec.Struct, frozen=True):
    """What runs now."""

    intent_id: str
    name: str
    target: str
    attempt: int
    started_at: float | None = None
    """Seconds since 1970; None: an older daemon does not tell."""


class Counts(msgspec.Struct):
    """What happened since the daemon started."""

    processing: Histogram
    porch: Histogram
    admitted: int = 0
    ended: dict[str, int] = {}
    """By final state."""
    retries: int = 0
    handed_back: int = 0
    porch_timeouts: int = 0
    breaker_opened: int = 0
    traces_exported: int = 0
    traces_dropped: int = 0
    """Given up because nobody took them in time."""
    traces_damaged: int = 0
    """Entries of the journal that traces were not made from, because they cannot be trusted."""
    alerts: dict[str, int] = {}
    """By code of `core.security_events`."""


class Vitals(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every other line."""

    at: float
    """Seconds since 1970."""
    counts: Counts
    checks: tuple[Check, ...] = ()
    loops: tuple[Loop, ...] = ()
    running: tuple[Attempt, ...] = ()
    workers: int = 0
    waiting: int = 0
    """Admitted and not running."""
    in_folder: int = 0
    """Seen in the handoff folder and not claimed."""
    ignored: int = 0
    oldest_at: float | None = None
    """When the oldest file or intent without a final state was handed over; since 1970."""
    is_paused: bool = False
    is_breaker_open: bool = False
    is_journal_open: bool = False
    parked: int = 0
    committed: int = 0
    relayed: int = 0
    disk_free_bytes: int = 0
    last_backup_at: float | None = None
    """The newest scheduled backup, since 1970; 0: none yet; None: there is no schedule."""
    process: Process = Process()


_encoder = msgspec.json.Encoder()
_serving: msgspec.json.Decoder[Serving] = msgspec.json.Decoder(Serving)
_vitals: msgspec.json.Decoder[Vitals] = msgspec.json.Decoder(Vitals)


def encode(message: Serving | Vitals) -> bytes:
    """One line of JSON."""
    return _encoder.encode(message) + b"\n"


def decode_serving(line: bytes) -> Serving:
    """Raises msgspec.DecodeError for anything else."""
    return _serving.decode(line)


def decode_vitals(line: bytes) -> Vitals:
    """Raises msgspec.DecodeError for anything else."""
    return _vitals.decode(line)
