"""How the daemon runs: its pace, attempts, what waits, housekeeping."""

# ruff: noqa: RUF009  setting() is dataclasses.field() with what is known of the setting

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from conductor_loop.core.durations import format_duration
from conductor_loop.core.settlement import LONGEST_BACKOFF
from conductor_loop.settings import readers
from conductor_loop.settings.declared.option import OFF, setting

MOST_WORKERS = 256
MOST_ATTEMPTS = 100
LEAST_MEMORY, MOST_MEMORY = 1 << 20, 1 << 40
# A shorter period would keep a core busy with nothing but listing the folder.
SHORTEST_PERIOD = timedelta(milliseconds=10)
SHORTEST_TIMEOUT = timedelta(milliseconds=1)
_RUNNING = "running"
_ATTEMPTS = "attempts"
_ORDER = "waiting"
_KEEPING = "housekeeping"


@dataclass(frozen=True, kw_only=True)
class Running:
    """How the daemon runs: its pace, attempts, what waits, housekeeping."""

    once: bool = setting(
        readers.switch(), "false", _RUNNING, "finish what is there now, retries included, then exit"
    )
    debounce: timedelta = setting(
        readers.duration(),
        "500ms",
        _RUNNING,
        "a file written in place is complete after this much quiet",
        is_live=True,
    )
    period: timedelta = setting(
        readers.duration(SHORTEST_PERIOD),
        "2s",
        _RUNNING,
        "time between two scans of the folder",
        is_live=True,
    )
    workers: int | Literal["auto"] = setting(
        readers.number_or_auto(1, MOST_WORKERS),
        "2",
        _RUNNING,
        "attempts at a time; auto: what the cgroup's CPU quota allows",
    )
    max_memory: int | Literal["auto"] | None = setting(
        readers.unless(OFF, readers.size_or_auto(LEAST_MEMORY, MOST_MEMORY)),
        "auto",
        _RUNNING,
        "resident memory of the daemon above which no more files are taken until it falls;"
        " auto: 80% of what its control group allows; 0 = never",
        is_live=True,
    )
    run_as: str | None = setting(
        readers.unless(("",), readers.text("USER[:GROUP]")),
        "",
        _RUNNING,
        "who to become when started as root, which never runs this",
        shown_default="the handoff folder's owner, else 65532",
    )
    security_enabled: bool = setting(
        readers.switch(),
        "true",
        _RUNNING,
        "false turns off the sandbox, anomaly detection and the scrubbing of what porch prints;"
        " never parsing, path safety or never-root",
        has_flag=False,
    )
    timeout: timedelta = setting(
        readers.duration(SHORTEST_TIMEOUT),
        "30s",
        _ATTEMPTS,
        "deadline of one attempt",
        is_live=True,
    )
    grace: timedelta = setting(
        readers.duration(),
        "10s",
        _ATTEMPTS,
        "what a child gets between SIGTERM and SIGKILL, and what runs gets at shutdown",
    )
    max_attempts: int = setting(
        readers.number(1, MOST_ATTEMPTS),
        "3",
        _ATTEMPTS,
        "attempts before an intent is failed; those in an outage of porch do not count",
        is_live=True,
    )
    retry_backoff: timedelta = setting(
        readers.duration(most=LONGEST_BACKOFF),
        "1s",
        _ATTEMPTS,
        "first pause before a retry; doubles, with jitter, up to "
        + format_duration(LONGEST_BACKOFF),
        is_live=True,
    )
    max_wait: timedelta | None = setting(
        readers.unless(OFF, readers.duration()),
        "0",
        _ORDER,
        "an intent that waited longer is skipped as expired; 0 = no limit",
        shown_default="off",
        is_live=True,
    )
    supersede: bool = setting(
        readers.switch(),
        "false",
        _ORDER,
        "run only the newest waiting intent of a target; the others are skipped",
        is_live=True,
    )
    retention: timedelta = setting(
        readers.duration(),
        "168h",
        _KEEPING,
        "age at which processed intents are removed; 0 = never",
        is_live=True,
    )
    failed_retention: timedelta = setting(
        readers.duration(),
        "168h",
        _KEEPING,
        "age at which failed intents are removed; 0 = never",
        is_live=True,
    )
    cleanup_interval: timedelta = setting(
        readers.duration(),
        "24h",
        _KEEPING,
        "time between two clean-ups; 0 = never",
        is_live=True,
    )
    compliance_interval: timedelta = setting(
        readers.duration(),
        "0",
        _KEEPING,
        "time between two signed reports in STATE-DIR/compliance, of which 100 stay; 0 = never",
    )
    integrity_interval: timedelta = setting(
        readers.duration(),
        "24h",
        _KEEPING,
        "time between two looks at whether verdicts, files and packages are as signed; 0 = never",
    )
