"""Probes and metrics as somebody on the network meets them: the real daemon, real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from conductor_loop.core.liveness import EVENT_LOOP, LOOPS, SILENCE_SECONDS
from tests.system.daemon import Daemon, Site, intent, wait_until

SEED_METRICS = {
    "conductor_files_processed_total": "counter",
    "conductor_files_failed_total": "counter",
    "conductor_processing_duration_seconds": "histogram",
    "conductor_active_workers": "gauge",
    "conductor_queue_size": "gauge",
}
"""Names and types of the original's README, Health Monitoring."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        return dict(json.loads(self.body))


@dataclass(frozen=True, slots=True)
class Server:
    """One listening socket of a daemon."""

    daemon: Daemon
    port: int

    def get(self, path: str, **headers: str) -> Answer:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(link):
            link.request("GET", path, headers=headers)
            answer = link.getresponse()
            lowered = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, lowered, answer.read())

    def metric(self, sample: str) -> float:
        """The value of a sample, as it is written before its value."""
        text = self.get("/metrics").body.decode()
        found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        assert found is not None, f"no {sample} in {text}"
        return float(found[1])


def port_of(daemon: Daemon, role: str) -> int:
    """The port that the log names for a role."""
    found: list[str] = []

    def is_told() -> bool:
        told = [re.fullmatch(rf"{role} on https?://.*:(\d+)", m) for m in daemon.messages()]
        found[:] = [match[1] for match in told if match]
        return bool(found)

    wait_until(is_told, f"the log names the port of {role}")
    return int(found[0])


@contextlib.contextmanager
def serving(site: Site, *flags: str) -> Iterator[Server]:
    """A daemon with `-http` on a free port, ready."""
    with site.daemon("-http", "127.0.0.1:0", "-http-rate", "0", *flags) as daemon:
        server = Server(daemon, port_of(daemon, "page"))
        wait_until(lambda: server.get("/readyz").status == 200, "it says that it is ready")
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that several tests only look at, with one intent that went well."""
    site = Site(tmp_path_factory.mktemp("shared"))
    with serving(site) as server:
        site.hand_over_all({"intent-a.json": intent()})
        site.wait_for_final(1)
        yield server


def http_process(daemon: Daemon) -> int:
    """The process that answers for a daemon."""
    found: list[int] = []

    def is_there() -> bool:
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError, IndexError):
                status = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                words = Path(f"/proc/{name}/cmdline").read_bytes()
                if int(status[1]) == daemon.pid and b"web.program" in words and status[0] != "Z":
                    found[:] = [int(name)]
        return bool(found)

    wait_until(is_there, "the process that serves HTTP runs")
    return found[0]


def test_nothing_listens_unless_it_is_asked_for(site: Site) -> None:
    with site.daemon() as daemon:
        children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        assert not any(
            b"web.program" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children
        )


def test_probes_answer_and_name_each_check(shared: Server) -> None:
    ready = shared.get("/readyz").json()

    assert shared.get("/healthz").json() == {"status": "ok"}
    assert shared.get("/livez").json()["status"] == "live"
    assert ready["status"] == "ready"
    checks = ready["checks"]
    assert isinstance(checks, list)
    assert {"handoff", "not-paused", "porch", "room", "folders", "disk-floor"} <= {
        check["name"] for check in checks
    }


def test_a_paused_daemon_is_live_and_not_ready(site: Site) -> None:
    with serving(site) as server:
        site.pause()
        wait_until(lambda: server.get("/readyz").status == 503, "it is not ready")
        checks = server.get("/readyz").json()["checks"]
        assert isinstance(checks, list)
        assert [check for check in checks if not check["ok"]] == [
            {
                "name": "not-paused",
                "ok": False,
                "why": "an operator paused it; to go on: conductor-loop resume",
            }
        ]
        assert server.get("/livez").status == 200
        site.resume()
        wait_until(lambda: server.get("/readyz").status == 200, "it is ready again")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable_makes_it_not_ready_without_naming_a_path(
    site: Site,
) -> None:
    with serving(site) as server:
        (site.handoff / "failed").chmod(0o500)
        try:
            wait_until(lambda: server.get("/readyz").status == 503, "it is not ready")
            body = server.get("/readyz").body
            assert b"a folder is not writable" in body
            assert os.fsencode(site.top) not in body
        finally:
            (site.handoff / "failed").chmod(0o755)


def test_a_disk_below_its_floor_makes_it_not_ready(site: Site) -> None:
    floor = ("-disk-floor", "1024GiB")
    with site.daemon("-http", "127.0.0.1:0", *floor) as daemon:
        server = Server(daemon, port_of(daemon, "page"))
        wait_until(lambda: b'"disk-floor","ok":false' in server.get("/readyz").body, "it is low")
        assert server.get("/readyz").status == 503


def test_metrics_have_the_five_names_and_types_of_the_original(shared: Server) -> None:
    text = shared.get("/metrics").body.decode()
    for name, kind in SEED_METRICS.items():
        assert f"\n# TYPE {name} {kind}\n" in "\n" + text


def test_metrics_count_what_succeeded_and_what_failed(site: Site) -> None:
    with serving(site) as server:
        site.hand_over_all({"intent-a.json": intent(), "intent-b.json": b"{}"})
        site.wait_for_final(2)
        wait_until(lambda: server.metric("conductor_files_failed_total") == 1, "one is counted")
        wait_until(lambda: server.metric("conductor_files_processed_total") == 1, "so is the other")
        assert server.metric('conductor_outcomes_total{status="rejected"}') == 1
        assert server.metric("conductor_processing_duration_seconds_count") == 2
        assert server.metric('conductor_alerts_total{code="daemon_started"}') == 1
        assert server.metric('conductor_alerts_total{code="verdict_altered"}') == 0


def test_the_queue_counts_complete_files_that_are_not_claimed_yet(site: Site) -> None:
    with serving(site, "-intake-rate", "1/h", "-intake-burst", "1") as server:
        site.hand_over_all({"intent-0.json": intent()})
        site.wait_for_final(1)
        site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(1, 5)})
        wait_until(lambda: server.metric("conductor_queue_size") == 4, "four wait")
        wait_until(
            lambda: server.metric("conductor_oldest_intent_age_seconds") > 0, "the oldest ages"
        )
        assert site.counts().total() == 1


def test_what_is_started_ahead_of_the_workers_waits_and_is_not_active(site: Site) -> None:
    go = 'until [ -e "$top/go" ]; do /bin/sleep 0.02; done'
    porch = site.porch(f'[ "$name" = intent-quick.json ] || {go}')
    with serving(site, "-porch", porch, "-timeout", "1h") as server:
        site.hand_over_all({"intent-quick.json": intent("quick")})
        site.wait_for_final(1)
        site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(6)})
        wait_until(lambda: site.counts().total() == 7, "all are taken")

        active, queue = "conductor_active_workers", "conductor_queue_size"
        wait_until(
            lambda: (server.metric(active), server.metric(queue)) == (2, 4), "two of six run"
        )
        (site.top / "go").touch()


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_to_say_about_the_metrics(shared: Server) -> None:
    page = shared.get("/metrics").body
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_story_offers_no_retry_of_what_was_retried(site: Site) -> None:
    site.flags += ("-porch", site.porch('[ -e "$top/mended" ] || exit 2'))
    with serving(site) as server:
        site.hand_over_all({"intent-a.json": intent()})
        site.wait_for_final(1)
        story = f"/api/intents/{site.intent_id('intent-a.json')}"
        before = json.loads(server.get(story).body)
        (site.top / "mended").touch()
        (new,) = site.asked("retry", "-failed")["intent_ids"]
        site.wait_for_final(2)
        after = json.loads(server.get(story).body)
    assert (before["retried_as"], bool(before["retry"])) == (None, True)
    assert (after["retried_as"], after["retry"]) == (new, "")
    assert after["remedy"] == f"retried as {new} (published)"


def test_what_serves_http_is_replaced_when_it_dies_and_keeps_its_port(site: Site) -> None:
    with serving(site) as server:
        first = http_process(server.daemon)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: http_process(server.daemon) != first, "there is another one")
        wait_until(lambda: server.get("/readyz").status == 200, "it answers again")
        wait_until(
            lambda: server.metric('conductor_alerts_total{code="http_ended"}') == 1, "it is told"
        )


def test_what_serves_http_ends_with_a_daemon_that_is_killed(site: Site) -> None:
    with serving(site) as server:
        pid = http_process(server.daemon)
        server.daemon.kill()
        wait_until(lambda: not Path(f"/proc/{pid}/cmdline").exists(), "it has ended")


def test_a_port_that_is_taken_stops_the_start_with_a_hint(site: Site) -> None:
    with serving(site) as server:
        address = f"127.0.0.1:{server.port}"
        done = site.command("-handoff", "other", "-porch", "builtin", "-http", address)
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert "hint" in done.stderr


@contextlib.contextmanager
def hanging_disk(daemon: Daemon) -> Iterator[None]:
    """Every sync of the journal's thread takes an hour, as on a disk that hangs.

    The main thread, which carries all other loops, goes on.
    """
    threads = [tid for tid in os.listdir(f"/proc/{daemon.pid}/task") if int(tid) != daemon.pid]
    attached = [word for tid in threads for word in ("-p", tid)]
    hang = ["-e", "inject=fsync,fdatasync:delay_enter=3600s", "-e", "trace=fsync,fdatasync"]
    strace = subprocess.Popen(
        ["strace", "-o", os.devnull, *hang, *attached], stderr=subprocess.PIPE, text=True
    )
    assert strace.stderr is not None
    told = [strace.stderr.readline() for _ in threads]
    assert all("attached" in line for line in told), told
    try:
        yield
    finally:
        strace.kill()
        strace.communicate()


@pytest.mark.needs("strace")
def test_a_loop_that_is_stuck_turns_livez_red_and_is_named(site: Site) -> None:
    with serving(site) as server:
        with hanging_disk(server.daemon):
            site.hand_over("intent-a.json", intent())
            wait_until(lambda: server.get("/livez").status == 503, "it is stuck")
            loops = server.get("/livez").json()["loops"]
            assert isinstance(loops, list)
            # Whoever waits for the journal is stuck soon after.
            stuck = {loop["name"] for loop in loops if not loop["ok"]}
            assert {"journal"} <= stuck <= {"journal", "intake"}
            assert server.get("/healthz").status == 200
            assert server.get("/readyz").status == 503
        server.daemon.kill()


def test_a_daemon_that_stands_still_turns_livez_red_until_it_goes_on(site: Site) -> None:
    with serving(site) as server:
        server.daemon.send(signal.SIGSTOP)
        try:
            wait_until(lambda: server.get("/livez").status == 503, "it is stuck")
            assert b'{"name":"event-loop","ok":false}' in server.get("/livez").body
        finally:
            server.daemon.send(signal.SIGCONT)
        wait_until(lambda: server.get("/livez").status == 200, "it lives again")


def test_metrics_of_a_daemon_that_stands_still_do_not_look_healthy(site: Site) -> None:
    age = "conductor_oldest_intent_age_seconds"
    with serving(site) as server:
        assert server.metric("conductor_ready") == 1
        assert server.metric('conductor_loop_live{loop="event-loop"}') == 1
        server.daemon.send(signal.SIGSTOP)
        try:
            site.hand_over("intent-a.json", intent())
            wait_until(
                lambda: server.metric('conductor_loop_live{loop="event-loop"}') == 0, "it is stuck"
            )
            assert server.metric("conductor_ready") == 0
            grown = server.metric(age)
            assert grown > SILENCE_SECONDS
            wait_until(lambda: server.metric(age) > grown + 1, "the age grows on")
        finally:
            server.daemon.send(signal.SIGCONT)
        wait_until(lambda: server.metric("conductor_ready") == 1, "it is ready again")
        site.wait_for_final(1)
        wait_until(lambda: server.metric(age) == 0, "nothing waits")


def test_each_loop_that_the_documentation_names_has_a_metric_and_no_other(shared: Server) -> None:
    served = re.findall(
        r'conductor_loop_live\{loop="([^"]+)"\} 1', shared.get("/metrics").body.decode()
    )
    assert set(served) == {EVENT_LOOP, *LOOPS}


def test_a_handoff_that_cannot_be_served_is_not_ready_in_metrics(site: Site) -> None:
    moved = site.top / "moved"
    with serving(site) as server:
        site.handoff.rename(moved)
        site.handoff.symlink_to(moved)
        wait_until(lambda: server.metric("conductor_ready") == 0, "it is not ready")
        assert server.metric("conductor_paused") == 0
        site.handoff.unlink()
        moved.rename(site.handoff)
        wait_until(lambda: server.metric("conductor_ready") == 1, "it is ready again")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.mark.needs("prometheus")
def test_a_real_prometheus_scrapes_it(site: Site) -> None:
    with serving(site) as server:
        site.hand_over("intent-a.json", intent())
        site.wait_for_final(1)
        target = f"127.0.0.1:{server.port}"
        config = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [
                {"job_name": "conductor-loop", "static_configs": [{"targets": [target]}]}
            ],
        }
        file, port = site.top / "prometheus.yml", free_port()
        file.write_text(json.dumps(config))  # JSON is YAML
        prometheus = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={site.top / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def has_scraped() -> bool:
            asked = Server(server.daemon, port)
            # It refuses, then answers that it is not ready, at first.
            with contextlib.suppress(OSError, ValueError):
                answer = asked.get("/api/v1/query?query=conductor_files_processed_total").body
                results = json.loads(answer)["data"]["result"]
                return [result["value"][1] for result in results] == ["1"]
            return False

        try:
            wait_until(has_scraped, "Prometheus knows the count")
        finally:
            prometheus.kill()
            prometheus.wait()


def test_the_documentation_lists_the_metrics_that_there_are(shared: Server) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/reference-metrics.md").read_text()
    rows = re.findall(r"(?m)^\| \W*((?:conductor|process)_\w+)`\W* \| (\w+) \| (.*)\|$", page)
    only_with = {name for name, _, rest in rows if " Only with `-" in rest}
    documented = {(name, kind) for name, kind, _ in rows if name not in only_with}
    served = re.findall(r"^# TYPE (\S+) (\w+)", shared.get("/metrics").body.decode(), re.MULTILINE)
    assert documented == set(served)
    assert len(only_with) == 2
