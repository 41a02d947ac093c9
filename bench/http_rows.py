"""The rows about HTTP: how soon probes answer under load, and what serving costs."""

from __future__ import annotations

import http.client
import re
import statistics
import time

from bench.ground import Daemon, ground
from bench.machine import CannotMeasure
from bench.rows import Measured, Row, Setting, warm_up

_HTTP = ("-http", "127.0.0.1:0", "-http-rate", "0")
_ASK_EVERY_SECONDS = 0.005
_HEALTHZ_PER_METRICS = 10


def probes(setting: Setting) -> Measured:
    """p99 of `/healthz` and `/metrics`, asked one after the other while a backlog is worked off."""
    took: dict[str, list[float]] = {"/healthz": [], "/metrics": []}
    count = 2_000 if setting.quick else 10_000
    with ground(setting.parent) as place, place.watching("-porch", "builtin", *_HTTP) as daemon:
        warm_up(daemon)
        link = http.client.HTTPConnection("127.0.0.1", _port(daemon), timeout=10)
        before = place.verdicts()
        place.hand_over(place.stage(0, count))
        number, began = 0, time.monotonic()
        while place.verdicts() < before + count:
            number += 1
            path = "/metrics" if number % _HEALTHZ_PER_METRICS == 0 else "/healthz"
            took[path].append(_seconds(link, path))
            time.sleep(_ASK_EVERY_SECONDS)
            if time.monotonic() - began > 120:
                raise CannotMeasure("the backlog is not worked off")
        rate = count / (time.monotonic() - began)
        link.close()
    health, metrics = (_p99(took[path]) * 1e3 for path in ("/healthz", "/metrics"))
    return Measured(
        f"{health:.1f} / {metrics:.1f} ms at {rate:,.0f} intents /s",
        {"healthz_p99_ms": health, "metrics_p99_ms": metrics, "rate": rate},
        met=health < 10 and metrics < 50,
    )


def cost(setting: Setting) -> Measured:
    """Throughput of a burst with HTTP on, as a share of that without; in turns."""
    count, without, served = 1_000 if setting.quick else 5_000, list[float](), list[float]()
    for _ in range(2 if setting.quick else 5):
        without.append(_burst_seconds(setting, count, ()))
        served.append(_burst_seconds(setting, count, _HTTP))
    share = statistics.median(without) / statistics.median(served)
    return Measured(f"{share:.0%} of without", {"share": share}, met=share >= 0.95)


def _burst_seconds(setting: Setting, count: int, flags: tuple[str, ...]) -> float:
    with ground(setting.parent) as place, place.watching("-porch", "builtin", *flags) as daemon:
        warm_up(daemon)
        before, files = place.verdicts(), place.stage(0, count)
        begin = time.monotonic()
        place.hand_over(files)
        daemon.wait_for_verdicts(before + count)
        return time.monotonic() - begin


def _port(daemon: Daemon) -> int:
    found = re.search(r"page on http://127\.0\.0\.1:(\d+)", daemon.ground.log.read_text())
    if found is None:
        raise CannotMeasure("the log names no port")
    return int(found[1])


def _seconds(link: http.client.HTTPConnection, path: str) -> float:
    begin = time.monotonic()
    link.request("GET", path)
    answer = link.getresponse()
    answer.read()
    if answer.status != 200:
        raise CannotMeasure(f"{path} answers {answer.status}")
    return time.monotonic() - begin


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[98]


HTTP_ROWS = (
    Row(
        "http-probes",
        "p99 of `/healthz` / `/metrics` while intents run",
        "–",
        "10 / 50 ms",
        probes,
    ),
    Row("http-cost", "throughput with HTTP on", "–", "95% of without", cost),
)
