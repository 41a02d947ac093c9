"""What may come in, and how fast."""

# ruff: noqa: RUF009  setting() is dataclasses.field() with what is known of the setting

from __future__ import annotations

from dataclasses import dataclass

from conductor_loop.core.intent import HIGHEST_PRIORITY, LOWEST_PRIORITY
from conductor_loop.core.rates import Rate
from conductor_loop.settings import readers
from conductor_loop.settings.declared.option import OFF, setting

MOST_BURST = 1_000_000
# A file is held whole in memory and in one row of the journal; SQLite takes 10^9 bytes at most.
MOST_BYTES = 256 << 20
_INTAKE = "intake"


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What may come in, and how fast."""

    max_file_size: int = setting(
        readers.size(1, MOST_BYTES),
        "10MiB",
        _INTAKE,
        "a larger file is rejected without being read",
        is_live=True,
    )
    max_priority: int = setting(
        readers.number(LOWEST_PRIORITY, HIGHEST_PRIORITY),
        str(HIGHEST_PRIORITY),
        _INTAKE,
        "an intent that asks for a higher priority gets this one",
        is_live=True,
    )
    allow_system_namespaces: bool = setting(
        readers.switch(),
        "false",
        _INTAKE,
        "accept intents for kube-system, kube-public and kube-node-lease",
        is_live=True,
    )
    allow_namespaces: tuple[str, ...] = setting(
        readers.namespaces(),
        "",
        _INTAKE,
        "accept intents for these namespaces only: names, or beginnings with * behind them",
        shown_default="all",
        is_live=True,
    )
    deny_namespaces: tuple[str, ...] = setting(
        readers.namespaces(),
        "",
        _INTAKE,
        "reject intents for these namespaces, also for allowed ones",
        shown_default="none",
        is_live=True,
    )
    intake_rate: Rate | None = setting(
        readers.unless(OFF, readers.rate()),
        "0",
        _INTAKE,
        "files taken in a time, e.g. 50/s; what is over it waits in the folder",
        shown_default="off",
        is_live=True,
    )
    owner_rate: Rate | None = setting(
        readers.unless(OFF, readers.rate()),
        "0",
        _INTAKE,
        "files of one owner taken in a time; others go on meanwhile",
        shown_default="off",
        is_live=True,
    )
    namespace_rate: Rate | None = setting(
        readers.unless(OFF, readers.rate()),
        "0",
        _INTAKE,
        "intents of one namespace begun in a time; what is over it waits, in order",
        shown_default="off",
        is_live=True,
    )
    intake_burst: int = setting(
        readers.number(1, MOST_BURST),
        "100",
        _INTAKE,
        "how many may come at once, after a rest, under each of these rates",
        is_live=True,
    )
