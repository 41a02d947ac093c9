"""`/metrics`: the daemon's counts in the text format of Prometheus. Every label is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from conductor_loop.core.security_events import KINDS
from conductor_loop.core.states import FINAL, UNSUCCESSFUL, State
from conductor_loop.core.vitals import Histogram, Process, Vitals
from conductor_loop.web.board import Board
from conductor_loop.web.certificate import Certificate
from conductor_loop.web.records import Records

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Turns the newest vitals into metrics whenever it is scraped."""

    def __init__(
        self, board: Board, records: Records, version: str, certificate: Certificate | None
    ) -> None:
        self._board = board
        self._records = records
        self._version = version
        self._certificate = certificate
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def page(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing is known before the daemon has spoken."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        vitals = self._board.vitals
        yield from _outcomes(vitals)
        yield from _queue(vitals, self._board.oldest_seconds())
        yield from _porch(vitals)
        yield from _views(vitals)
        yield from _state_of_health(self._board)
        yield from self._state()
        yield from _process(vitals.process)
        if self._certificate is not None:
            yield _gauge(
                "conductor_certificate_expires_timestamp_seconds",
                "When the certificate of -http ends, since 1970.",
                self._certificate.ends_at(),
            )
        build = GaugeMetricFamily(
            "conductor_build_info", "The version that runs.", labels=("version",)
        )
        build.add_metric((self._version,), 1)
        yield build

    def _state(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily(
            "conductor_state_rows", "Intents in the journal, by state.", labels=("state",)
        )
        for state in State:
            if state is not State.NEW:
                rows.add_metric((state.value,), self._records.rows.get(state, 0))
        yield rows
        yield _gauge("conductor_state_bytes", "Bytes of the journal.", self._records.size_bytes())


def _outcomes(vitals: Vitals) -> Iterator[Metric]:
    ended = vitals.counts.ended
    failed = sum(ended.get(state.value, 0) for state in UNSUCCESSFUL)
    yield _counter(
        "conductor_files_processed",
        "Files that ended in processed/, since the daemon started.",
        sum(ended.values()) - failed,
    )
    yield _counter(
        "conductor_files_failed", "Files that ended in failed/ or in quarantine.", failed
    )
    by_status = CounterMetricFamily(
        "conductor_outcomes", "Intents that ended, by final state.", labels=("status",)
    )
    for state in State:
        if state in FINAL:
            by_status.add_metric((state.value,), ended.get(state.value, 0))
    yield by_status
    yield _histogram(
        "conductor_processing_duration_seconds",
        "Time from claiming a file to its final state.",
        vitals.counts.processing,
    )


def _queue(vitals: Vitals, oldest_seconds: float) -> Iterator[Metric]:
    yield _gauge("conductor_active_workers", "Attempts that run now.", len(vitals.running))
    yield _gauge("conductor_workers", "Attempts that may run at a time.", vitals.workers)
    yield _gauge(
        "conductor_queue_size",
        "What waits: intents admitted and not running, and files not claimed yet.",
        vitals.waiting + vitals.in_folder,
    )
    yield _gauge(
        "conductor_oldest_intent_age_seconds",
        "How long ago the oldest unfinished intent or unclaimed file was handed over; "
        "of a daemon that is stuck, at least since its last word.",
        oldest_seconds,
    )
    yield _gauge("conductor_ignored_files", "Files left alone in the handoff.", vitals.ignored)
    yield _gauge("conductor_paused", "1 while an operator paused everything.", vitals.is_paused)
    yield _counter(
        "conductor_intents_admitted", "Intents checked and taken.", vitals.counts.admitted
    )


def _porch(vitals: Vitals) -> Iterator[Metric]:
    counts = vitals.counts
    yield _histogram(
        "conductor_porch_duration_seconds", "Time of one attempt that counted.", counts.porch
    )
    yield _counter(
        "conductor_porch_timeouts", "Attempts that passed their deadline.", counts.porch_timeouts
    )
    yield _counter("conductor_retries", "Attempts that failed and were repeated.", counts.retries)
    yield _counter(
        "conductor_attempts_handed_back", "Attempts that did not count.", counts.handed_back
    )
    yield _gauge(
        "conductor_breaker_open", "1 while porch's outage holds work.", vitals.is_breaker_open
    )
    yield _counter("conductor_breaker_opened", "Outages of porch.", counts.breaker_opened)


def _views(vitals: Vitals) -> Iterator[Metric]:
    alerts = CounterMetricFamily(
        "conductor_alerts", "Security events noticed, by code.", labels=("code",)
    )
    # Every code from the start: what begins at its first event has no increase to alert on.
    for code, count in sorted({**dict.fromkeys(KINDS, 0), **vitals.counts.alerts}.items()):
        alerts.add_metric((code,), count)
    yield alerts
    yield _counter(
        "conductor_traces_exported", "Intents whose trace was sent.", vitals.counts.traces_exported
    )
    yield _counter(
        "conductor_traces_dropped",
        "Intents whose trace was given up: no collector took it in time.",
        vitals.counts.traces_dropped,
    )
    yield _counter(
        "conductor_traces_damaged_entries",
        "Journal entries that no trace was made from: they cannot be trusted.",
        vitals.counts.traces_damaged,
    )
    behind = max(vitals.committed - vitals.relayed, 0)
    yield _gauge("conductor_views_behind_entries", "Journal entries not in the views yet.", behind)
    yield _gauge(
        "conductor_views_parked_entries", "Entries that no view could take.", vitals.parked
    )
    yield _gauge(
        "conductor_disk_free_bytes", "Room on the fullest disk in use.", vitals.disk_free_bytes
    )
    if vitals.last_backup_at is not None:
        yield _gauge(
            "conductor_last_backup_timestamp_seconds",
            "When the newest scheduled backup was made, since 1970; 0: never.",
            vitals.last_backup_at,
        )


def _state_of_health(board: Board) -> Iterator[Metric]:
    """What `/readyz` and `/livez` answer; true also of a daemon that does not speak any more."""
    yield _gauge(
        "conductor_ready", "1 when files are taken and everything holds.", board.is_ready()
    )
    lives = GaugeMetricFamily(
        "conductor_loop_live",
        "0 when a loop of the daemon is due and makes no progress.",
        labels=("loop",),
    )
    for name, is_live in board.liveness().items():
        lives.add_metric((name,), is_live)
    yield lives


def _process(used: Process) -> Iterator[Metric]:
    """The daemon's process under the names that every Prometheus client library uses."""
    yield _counter("process_cpu_seconds", "CPU time of the daemon.", used.cpu_seconds)
    yield _gauge(
        "process_resident_memory_bytes", "Resident memory of the daemon.", used.resident_bytes
    )
    yield _gauge("process_open_fds", "Open files of the daemon.", used.open_files)
    yield _gauge("process_max_fds", "Most files it may have open.", used.most_files)
    yield _gauge(
        "process_start_time_seconds", "When the daemon started, since 1970.", used.started_at
    )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value=value)


def _histogram(name: str, meaning: str, held: Histogram) -> Metric:
    bounds = [*map(str, map(float, held.bounds)), "+Inf"]
    buckets = list(zip(bounds, accumulate(held.counts), strict=True))
    return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=held.total)
