"""The page of metrics: what `/metrics` serves, with types, labels and the values they take."""

from __future__ import annotations

import math
from typing import cast

from prometheus_client.core import Metric

from conductor_loop.core.liveness import EVENT_LOOP, LOOPS
from conductor_loop.core.states import FINAL, State
from conductor_loop.core.vitals import PORCH_BOUNDS, PROCESSING_BOUNDS, Counts, Vitals, histogram
from conductor_loop.web.board import Board
from conductor_loop.web.certificate import Certificate
from conductor_loop.web.metrics import Metrics
from conductor_loop.web.records import Records
from docs.printed.tables import code, plain, table

_OPENING = """\
# Metrics

Everything that `/metrics` serves, for queries, dashboards and alerts. This page is printed from the
code by `python -m docs.printed`; a test keeps the two equal.

[Probes, metrics and the live page](monitoring.md) says how to switch it on and scrape it. Counters
begin at 0 with each start of the daemon. The first five, in bold, are the original's, by name and
type. No label holds a name of an intent, a target or a namespace, so their number is bounded.

"""
_ORIGINAL = {
    "conductor_files_processed_total",
    "conductor_files_failed_total",
    "conductor_processing_duration_seconds",
    "conductor_active_workers",
    "conductor_queue_size",
}
_ONLY_WITH = {
    "conductor_certificate_expires_timestamp_seconds": "-http-cert",
    "conductor_last_backup_timestamp_seconds": "-backup-interval",
}
_VALUES = {
    "status": " ".join(code(state.value) for state in State if state in FINAL),
    "state": " ".join(code(state.value) for state in State if state is not State.NEW),
    "loop": " ".join(code(loop) for loop in (EVENT_LOOP, *LOOPS)),
    "code": "a code of [what was noticed](reference-errors.md#something-was-noticed)",
    "version": "the one that runs",
}


class _NothingThere:
    """No journal and no certificate: their figures do not stand on the page."""

    rows: dict[State, int] = {}  # noqa: RUF012  as the class it stands for has it

    def size_bytes(self) -> int:
        return 0

    def ends_at(self) -> float:
        return math.nan


def page() -> str:
    """Write the whole page."""
    metrics = _every_metric()
    rows = sorted((_row(metric) for metric in metrics), key=lambda row: not row[0].startswith("*"))
    labels = [(code(name), values) for name, values in _VALUES.items()]
    bounds = [
        (code("conductor_processing_duration_seconds"), _bounds(PROCESSING_BOUNDS)),
        (code("conductor_porch_duration_seconds"), _bounds(PORCH_BOUNDS)),
    ]
    return "\n".join(
        [
            _OPENING + table(("name", "type", "labels", "meaning"), rows),
            "## Values of labels\n",
            table(("label", "values"), labels),
            "## Bounds of histograms\n",
            "A histogram has `_bucket` (with `le`), `_sum` and `_count`; bounds are seconds.\n",
            table(("name", "`le`"), bounds),
        ]
    )


def _every_metric() -> list[Metric]:
    board = Board()
    counts = Counts(histogram(PROCESSING_BOUNDS), histogram(PORCH_BOUNDS))
    board.vitals = Vitals(0.0, counts, last_backup_at=0.0)
    nothing = _NothingThere()
    served = Metrics(board, cast("Records", nothing), "", cast("Certificate", nothing))
    return list(served.collect())


def _row(metric: Metric) -> tuple[str, str, str, str]:
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    labels = " ".join(code(label) for label in getattr(metric, "_labelnames", ()))
    shown = f"**{code(name)}**" if name in _ORIGINAL else code(name)
    only = f" Only with {code(_ONLY_WITH[name])}." if name in _ONLY_WITH else ""
    return shown, metric.type, labels, plain(metric.documentation) + only


def _bounds(bounds: tuple[float, ...]) -> str:
    return " ".join(code(str(float(bound))) for bound in bounds) + " `+Inf`"
