"""Traces as a collector gets them: the real daemon, OTLP over HTTP, protobuf decoded here."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.certificates import Authority
from tests.otlp_receiver import Receiver, receiving
from tests.pages import Reader
from tests.prometheus import free_port
from tests.system.daemon import COMMAND, Site, intent, wait_until
from tests.system.test_http import serving

NICENESS = str(min(os.nice(0) + 10, 19))
_NOTE = 'echo "$TRACEPARENT" >> "$top/ledger"'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def receiver(site: Site) -> Iterator[Receiver]:
    with receiving() as receiver:
        site.environment |= receiver.environment
        yield receiver


def test_each_intent_is_one_trace_from_hand_over_to_verdict(site: Site, receiver: Receiver) -> None:
    porch = site.porch(_NOTE)
    site.hand_over_all({"intent-a.json": intent(correlation_id="scale-1")})
    done = site.once("-traces", "-porch", porch)
    assert done.returncode == 0, done.stderr

    root, *parts = receiver.trace_of("intent-a.json")
    assert [part.name for part in parts] == ["admit", "wait", "attempt", "record"]
    assert {part.parent_id for part in parts} == {root.span_id}
    assert root.facts["conductor.intent.id"] == site.intent_id("intent-a.json")
    assert root.facts["conductor.intent.target"] == "oran-sim/amf"
    assert root.facts["conductor.correlation_id"] == "scale-1"
    assert root.facts["conductor.intent.state"] == "published"
    assert root.resource["service.name"] == "conductor-loop"
    assert not any(each.is_error for each in (root, *parts))
    starts = [each.span.start_time_unix_nano for each in (root, *parts)]
    ends = [each.span.end_time_unix_nano for each in parts]
    assert starts == sorted(starts)
    assert max(ends) == root.span.end_time_unix_nano
    assert {path for path, _ in receiver.requests} == {"/v1/traces"}
    assert site.verdict("intent-a.json")["trace_id"] == root.trace_id
    assert site.command("verify", "handoff/status/intent-a.json.status").returncode == 0


def test_porch_is_told_its_place_in_the_trace(site: Site, receiver: Receiver) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.environment |= {"CONDUCTOR_CHILD_ENV": "TRACEPARENT", "TRACEPARENT": "00-not-ours-01"}
    site.once("-traces", "-porch", site.porch(_NOTE + '\nenv | grep -c TRACEPARENT >> "$top/n"'))

    root, *parts = receiver.trace_of("intent-a.json")
    (attempt,) = (part for part in parts if part.name == "attempt")
    assert site.ledger() == [f"00-{root.trace_id}-{attempt.span_id}-01"]
    assert (site.top / "n").read_text().split() == ["1"]


def test_without_traces_porch_is_told_of_none(site: Site, receiver: Receiver) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", site.porch(_NOTE))
    assert site.ledger() == [""]
    assert not receiver.requests
    assert "trace_id" not in site.verdict("intent-a.json")


@pytest.mark.parametrize("switch", ["OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none"])
def test_opentelemetry_s_own_switches_turn_them_off(
    site: Site, receiver: Receiver, switch: str
) -> None:
    name, _, value = switch.partition("=")
    site.environment[name] = value
    with serving(site, "-traces", "-porch", site.porch(_NOTE)) as server:
        site.hand_over("intent-a.json", intent())
        site.wait_for_final(1)
        story = server.get(f"/api/intents/{site.intent_id('intent-a.json')}")
        log = server.daemon.log()
    assert site.ledger() == [""]
    assert not receiver.requests
    assert "trace_id" not in site.verdict("intent-a.json")
    assert not [line for line in log if "trace.id" in line]
    assert json.loads(story.body)["trace_id"] is None
    assert site.asked("why", "intent-a.json", "-traces")["trace_id"] is None
    assert site.asked("top", "-traces")["recent"][0]["trace_id"] is None
    assert f"switched off by {switch}" in site.command("doctor", "-traces").stdout


def test_page_and_commands_tell_the_trace_that_the_verdict_names(
    site: Site, receiver: Receiver
) -> None:
    with serving(site, "-traces") as server:
        site.hand_over("intent-a.json", intent())
        site.wait_for_final(1)
        trace = site.verdict("intent-a.json")["trace_id"]
        story = json.loads(server.get(f"/api/intents/{site.intent_id('intent-a.json')}").body)
        assert receiver.trace_of("intent-a.json")[0].trace_id == trace
    assert story["trace_id"] == trace
    assert story["why"].endswith("-traces")
    assert site.asked("why", "intent-a.json", "-traces")["trace_id"] == trace
    assert site.asked("top", "-traces")["recent"][0]["trace_id"] == trace
    assert site.asked("top")["recent"][0]["trace_id"] is None


def test_every_attempt_is_a_part_and_failures_say_why(site: Site, receiver: Receiver) -> None:
    site.hand_over_all({"intent-a.json": intent(), "intent-b.json": b"{}"})
    site.once("-traces", "-max-attempts", "2", "-porch", site.porch(f"{_NOTE}\nexit 75"))

    root, *parts = receiver.trace_of("intent-a.json")
    attempts = [part for part in parts if part.name == "attempt"]
    assert [attempt.facts["conductor.attempt"] for attempt in attempts] == [1, 2]
    assert [attempt.facts["process.exit.code"] for attempt in attempts] == [75, 75]
    assert [line.split("-")[2] for line in site.ledger()] == [each.span_id for each in attempts]
    assert all(each.is_error and each.span.status.message for each in (root, *attempts))
    rejected = receiver.trace_of("intent-b.json")
    assert rejected[0].is_error
    assert rejected[0].facts["conductor.intent.state"] == "rejected"


def test_a_daemon_that_was_killed_and_its_successor_tell_one_trace(
    site: Site, receiver: Receiver
) -> None:
    porch = site.porch(f'{_NOTE}\n[ -e "$top/go" ] || exec sleep 600')
    flags = ("-traces", "-porch", porch)
    with site.daemon(*flags) as daemon:
        site.hand_over("intent-a.json", intent())
        wait_until(lambda: len(site.ledger()) == 1, "porch runs")
        daemon.kill()
    (site.top / "go").touch()
    with site.daemon(*flags):
        root, *parts = receiver.trace_of("intent-a.json")

    attempts = [part for part in parts if part.name == "attempt"]
    told = [line.split("-")[1:3] for line in site.ledger()]
    assert told == [[root.trace_id, attempt.span_id] for attempt in attempts]
    assert [attempt.is_error for attempt in attempts] == [True, False]
    assert attempts[0].facts["conductor.attempt.cause"] == "daemon_ended"


def test_a_retry_is_a_trace_of_its_own_that_points_to_the_first(
    site: Site, receiver: Receiver
) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-traces", "-porch", site.porch('[ -e "$top/go" ]'))
    (first, *_) = receiver.trace_of("intent-a.json")
    (site.top / "go").touch()
    assert site.command("retry", "intent-a.json").returncode == 0
    site.once("-traces", "-porch", site.porch('[ -e "$top/go" ]'))

    wait_until(lambda: bool(receiver.spans(conductor__intent__state="published")), "both are there")
    (second, *_) = receiver.spans(conductor__intent__state="published")[-1:]
    assert second.trace_id != first.trace_id
    (link,) = second.span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (first.trace_id, first.span_id)


def test_the_standard_variables_are_obeyed(site: Site, receiver: Receiver) -> None:
    site.environment |= {
        "OTEL_SERVICE_NAME": "edge-7",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=lab",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-traces")

    (root, *_) = receiver.trace_of("intent-a.json")
    assert root.resource["service.name"] == "edge-7"
    assert root.resource["deployment.environment.name"] == "lab"
    ((_, headers),) = receiver.requests
    assert headers["x-tenant"] == "blue"
    assert headers["content-encoding"] == "gzip"


def test_porch_and_the_sampler_agree_on_which_traces_are_kept(
    site: Site, receiver: Receiver
) -> None:
    site.environment |= {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    names = [f"intent-{n}.json" for n in range(20)]
    site.hand_over_all({name: intent(target=f"t{n}") for n, name in enumerate(names)})
    site.once("-traces", "-porch", site.porch(_NOTE))

    told = {line.split("-")[1] for line in site.ledger() if line.endswith("-01")}
    assert told == {each.trace_id for each in receiver.spans()}
    # One in a million that all of twenty fall on one side.
    assert 0 < len(told) < len(names)


def test_a_collector_that_is_away_holds_nothing_up_and_gets_what_it_missed(site: Site) -> None:
    port = free_port()
    site.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    with site.daemon("-traces") as daemon:
        site.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["status"] == "success"
        wait_until(lambda: daemon.has_said("no traces can be exported"), "the log tells of it")
        with receiving(port) as receiver:
            assert receiver.trace_of("intent-a.json")
            wait_until(lambda: daemon.has_said("traces are exported again"), "the log tells of it")
        assert sum("no traces can be exported" in each for each in daemon.messages()) == 1


def test_what_nobody_takes_is_counted_and_the_daemon_ends_all_the_same(site: Site) -> None:
    site.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
    }
    with serving(site, "-traces") as server:
        site.hand_over("intent-a.json", intent())
        site.wait_for_final(1)
        wait_until(lambda: server.metric("conductor_traces_dropped_total") == 1, "it is counted")
        assert server.metric("conductor_traces_exported_total") == 0
        site.hand_over("intent-b.json", intent(target="b"))
        site.wait_for_final(2)
        assert server.daemon.stop() == 0
        said = [each for each in server.daemon.messages() if "trace" in each]
    assert sum("no traces can be exported" in each for each in said) == 1
    # The second may have been given up too.
    assert re.fullmatch("traces that no collector took in time: [12]", said[-1])


def test_an_exporter_that_is_killed_goes_on_where_it_was(site: Site, receiver: Receiver) -> None:
    with site.daemon("-traces") as daemon:
        site.hand_over("intent-a.json", intent())
        receiver.trace_of("intent-a.json")
        subprocess.run(["kill", "-9", str(_exporter(daemon.pid))], check=True)
        site.hand_over("intent-b.json", intent(target="b"))
        receiver.trace_of("intent-b.json")
        assert site.counts()[State.PUBLISHED] == 2
    # What was sent and not yet told of is sent again, under the same ids.
    assert len({each.trace_id for each in receiver.spans()}) == 2
    assert len({each.span_id for each in receiver.spans() if not each.parent_id}) == 2


def _exporter(parent: int) -> int:
    """The process that exports for a daemon, once it is confined and follows the journal."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (found,) = (
        int(pid)
        for pid in children
        if b"tracing.program" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return found


def test_a_collector_is_spoken_to_by_tls_and_known_by_its_certificate(site: Site) -> None:
    # Where nothing that the daemon is given by its settings lies.
    folder = site.top / "elsewhere"
    folder.mkdir()
    authority = Authority()
    authority.issue(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with receiving(tls=tls) as receiver:
        site.environment |= {
            **receiver.environment,
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority.write(folder / "ca.pem")),
        }
        site.hand_over_all({"intent-a.json": intent()})
        site.once("-traces")
        assert receiver.trace_of("intent-a.json")


def test_the_exporter_gains_no_rights_comes_last_and_knows_no_secret_of_the_daemon(
    site: Site, receiver: Receiver
) -> None:
    site.environment["SECRET_OF_ANOTHER"] = "hidden"
    with site.daemon("-traces") as daemon:
        site.hand_over("intent-a.json", intent())
        receiver.trace_of("intent-a.json")
        exporter = Path(f"/proc/{_exporter(daemon.pid)}")
        assert "NoNewPrivs:\t1" in (exporter / "status").read_text()
        assert (exporter / "stat").read_text().rpartition(")")[2].split()[16] == NICENESS
        environment = (exporter / "environ").read_bytes()
    assert b"OTEL_EXPORTER_OTLP_ENDPOINT=" in environment
    assert b"hidden" not in environment


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]
)
def test_a_protocol_that_is_not_spoken_stops_the_start(site: Site, name: str) -> None:
    site.environment[name] = "grpc"
    done = site.once("-traces")
    assert done.returncode == 1
    assert "traces are exported by http/protobuf, not by grpc" in done.stderr
    assert not site.handoff.exists()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("OTEL_TRACES_EXPORTER=console", "traces are exported by otlp, not by console"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318", "traces cannot go to localhost:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://:4318", "traces cannot go to http://:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:99999", "traces cannot go to http://c:99999"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=many", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be"),
        (
            "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER=nobody",
            "OpenTelemetry refuses its settings: Requested component 'nobody'",
        ),
    ],
)
def test_settings_that_nothing_can_be_exported_with_stop_the_start(
    site: Site, setting: str, told: str
) -> None:
    name, _, value = setting.partition("=")
    site.environment[name] = value
    done = site.once("-traces")
    assert done.returncode == 1
    assert done.stderr.count(told) == 1
    assert "OTEL_" in done.stderr
    assert not site.handoff.exists()
    site.handoff.mkdir()
    findings = {each["subject"]: each for each in site.asked("doctor", "-traces")}
    assert findings["traces"]["grade"] == "bad"
    assert told in findings["traces"]["message"]
    assert findings["traces"]["hint"]


def test_a_setting_that_is_not_understood_is_told_of_once_without_the_secrets_in_it(
    site: Site, receiver: Receiver
) -> None:
    site.environment |= {
        "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant hunter2",
    }
    with site.daemon("-traces") as daemon:
        site.hand_over("intent-a.json", intent())
        receiver.trace_of("intent-a.json")
        assert sum("Unsupported compression type: zstd" in each for each in daemon.messages()) == 1
        assert daemon.has_said("Header format invalid!")
        log = json.dumps(daemon.log())
    assert "hunter2" not in log
    (found,) = (each for each in site.asked("doctor", "-traces") if each["subject"] == "traces")
    assert found["grade"] == "warning"
    assert f"go to {receiver.environment['OTEL_EXPORTER_OTLP_ENDPOINT']}" in found["message"]
    assert "zstd" in found["message"]
    assert "hunter2" not in found["message"]


def test_without_the_extra_the_start_says_what_to_install(site: Site) -> None:
    # An installation without the extra is this one, unable to find what the extra brings.
    hidden = "import sys; sys.modules['opentelemetry'] = None"
    (site.top / "sitecustomize.py").write_text(hidden)
    site.environment["PYTHONPATH"] = os.fspath(site.top)
    done = site.once("-traces")
    assert done.returncode == 1
    assert "OpenTelemetry is not installed" in done.stderr
    assert "pip install '.[otel]'" in done.stderr


def test_without_traces_nothing_of_opentelemetry_is_imported(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.environment["PYTHONVERBOSE"] = "1"
    done = subprocess.run(
        [*COMMAND, *site.flags, "-once"],
        cwd=site.top, env=site.environment, capture_output=True, timeout=60,
    )  # fmt: skip
    assert site.verdict("intent-a.json")["status"] == "success"
    assert b"import 'conductor_loop.core.verdict'" in done.stderr
    assert b"opentelemetry" not in done.stderr.lower()


def test_the_page_about_traces_does_what_it_says(tmp_path: Path) -> None:
    with receiving() as receiver:
        page = tmp_path / "tracing.md"
        text = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text()
        page.write_text(
            text.replace("http://localhost:4318\n", f"http://localhost:{receiver.port}\n")
        )
        reader = Reader(tmp_path)
        assert reader.follow(page) == 3
        (root, *_) = receiver.trace_of("intent-scale.json")
    told = Site(tmp_path).asked("why", "intent-scale.json", "-traces")
    assert told["trace_id"] == root.trace_id
