"""What each setting does to a running daemon, beyond being read correctly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.system.daemon import COMMAND, PATIENCE, Site, intent, wait_until

RECORDS = 'echo "$name" >> "$top/ledger"'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def pile_up(site: Site, count: int, *flags: str) -> None:
    """Hand over so many of one target while everything is paused, then let them run."""
    with site.daemon(*flags):
        site.pause()
        for n in range(count):
            site.hand_over(f"intent-{n}.json", intent(replicas=n))
            wait_until(lambda: site.counts().total() > n, "it is admitted")  # noqa: B023
        site.resume()
        site.wait_for_final(count)


def test_with_supersede_only_the_newest_waiting_intent_of_a_target_runs(site: Site) -> None:
    pile_up(site, 4, "-supersede", "-porch", site.porch(RECORDS))
    assert site.ledger() == ["intent-3.json"]
    assert site.counts() == {State.PUBLISHED: 1, State.SKIPPED: 3}
    assert site.names_in("processed") == [f"intent-{n}.json" for n in range(4)]


def test_of_those_that_come_together_only_the_newest_runs(site: Site) -> None:
    site.hand_over_all({f"intent-{n}.json": intent(replicas=n) for n in range(5)})
    assert site.once("-supersede", "-porch", site.porch(RECORDS)).returncode == 0
    assert site.ledger() == ["intent-4.json"]
    assert site.counts() == {State.PUBLISHED: 1, State.SKIPPED: 4}


def test_a_superseded_intent_names_the_one_that_took_its_place(site: Site) -> None:
    pile_up(site, 2, "-supersede=true")
    verdict = site.verdict("intent-0.json")
    assert (verdict["status"], verdict["skip_reason"]) == ("skipped", "superseded")
    assert verdict["superseded_by"] == site.verdict("intent-1.json")["intent_id"]


def test_supersede_leaves_other_targets_and_what_runs_alone(site: Site) -> None:
    porch = site.porch(f'{RECORDS}; until [ -e "$top/go" ]; do /bin/sleep 0.01; done')
    with site.daemon("-supersede", "-porch", porch):
        site.hand_over("intent-a.json", intent(replicas=1))
        wait_until(lambda: bool(site.ledger()), "it runs")
        site.hand_over("intent-b.json", intent(replicas=2))
        site.hand_over("intent-other.json", intent("upf"))
        site.wait_for_state("intent-other.json", State.RUNNING)
        (site.top / "go").touch()
        site.wait_for_final(3)
    assert site.counts() == {State.PUBLISHED: 3}


def test_without_supersede_all_run(site: Site) -> None:
    pile_up(site, 3, "-porch", site.porch(RECORDS))
    assert site.ledger() == [f"intent-{n}.json" for n in range(3)]


def test_what_waits_longer_than_max_wait_is_skipped_as_expired(site: Site) -> None:
    porch = site.porch(f'{RECORDS}; [ -e "$top/go" ] || exec /bin/sleep 1000')
    with site.daemon("-max-wait", "300ms", "-porch", porch, "-grace", "1ms"):
        site.hand_over("intent-runs.json", intent(replicas=1))
        wait_until(lambda: bool(site.ledger()), "it runs")
        site.hand_over("intent-waits.json", intent(replicas=2))
        verdict = site.verdict("intent-waits.json")
        assert (verdict["status"], verdict["skip_reason"]) == ("skipped", "expired")
        assert site.counts() == {State.RUNNING: 1, State.SKIPPED: 1}
    assert site.ledger() == ["intent-runs.json"]
    assert site.names_in("processed") == ["intent-waits.json"]


def test_a_pause_does_not_stop_the_clock_of_max_wait(site: Site) -> None:
    with site.daemon("-max-wait", "200ms"):
        site.pause()
        site.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["skip_reason"] == "expired"


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_max_attempts_says_how_often_it_is_tried(site: Site, attempts: int) -> None:
    porch = site.porch(f"{RECORDS}; exit 75")
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", porch, "-max-attempts", str(attempts))
    assert len(site.ledger()) == attempts
    assert len(site.verdict("intent-a.json")["attempts"]) == attempts


def test_a_backoff_doubles_and_is_waited_for(site: Site) -> None:
    porch = site.porch("exit 75")
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", porch, "-retry-backoff", "200ms", "-max-attempts", "3")
    with site.journal() as journal:
        moments = {
            (type(entry.event).__name__, getattr(entry.event, "attempt", 0)): entry.at
            for entry in journal.history(site.intent_id("intent-a.json"))
        }
    first, second, third = (moments["Started", n] for n in (1, 2, 3))
    # Spread over 75 to 125 percent.
    assert (second - first).total_seconds() >= 0.15
    assert (third - second).total_seconds() >= 0.3


def test_workers_says_how_many_run_at_once(site: Site) -> None:
    porch = site.porch(f'{RECORDS}; until [ -e "$top/go" ]; do /bin/sleep 0.01; done')
    with site.daemon("-porch", porch, "-workers", "3"):
        site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(6)})
        site.wait_for_state("intent-5.json", State.WAITING)
        wait_until(lambda: len(site.ledger()) == 3, "three run")
        assert site.counts()[State.RUNNING] == 3
        (site.top / "go").touch()
        site.wait_for_final(6)
    assert len(site.ledger()) == 6


@pytest.mark.parametrize(
    ("constraints", "pointer"),
    [
        ({"max_replicas": 2}, "/replicas"),
        ({"min_replicas": 4}, "/replicas"),
        ({"allowed_namespaces": ["oran-lab"]}, "/namespace"),
    ],
)
def test_an_intent_outside_its_own_constraints_is_rejected(
    site: Site, constraints: dict[str, object], pointer: str
) -> None:
    site.hand_over_all({"intent-a.json": intent(replicas=3, constraints=constraints)})
    assert site.once("-porch", site.porch(RECORDS)).returncode == 8
    verdict = site.verdict("intent-a.json")
    assert verdict["status"] == "failed"
    assert [fault["pointer"] for fault in verdict["error"]["faults"]] == [pointer]
    assert site.ledger() == []


def test_a_system_namespace_is_refused_unless_allowed(site: Site) -> None:
    body = intent(namespace="kube-system")
    site.hand_over_all({"intent-a.json": body})
    assert site.once().returncode == 8
    site.hand_over_all({"intent-a.json": body})
    assert site.once("-allow-system-namespaces").returncode == 0


@pytest.mark.parametrize(
    ("flags", "namespace", "code"),
    [
        (("-allow-namespaces", "oran-*"), "oran-sim", None),
        (("-allow-namespaces", "oran-*"), "edge", "namespace_not_allowed"),
        (("-deny-namespaces", "oran-sim"), "oran-sim", "namespace_denied"),
        (
            ("-allow-namespaces", "oran-*", "-deny-namespaces", "oran-sim"),
            "oran-sim",
            "namespace_denied",
        ),
        (("-allow-namespaces", "*"), "kube-system", "system_namespace"),
    ],
)
def test_the_operators_lists_decide_which_namespaces_are_accepted(
    site: Site, flags: tuple[str, ...], namespace: str, code: str | None
) -> None:
    site.hand_over_all({"intent-a.json": intent(namespace=namespace)})
    assert site.once(*flags).returncode == (0 if code is None else 8)
    error = site.verdict("intent-a.json").get("error") or {}
    assert error.get("code") == code
    validated = site.command("validate", "-", *flags, stdin=intent(namespace=namespace))
    assert (code or "") in validated.stdout


def test_no_producer_gets_a_higher_priority_than_the_operator_allows(site: Site) -> None:
    site.hand_over_all(
        {
            "intent-high.json": intent("high", priority="critical"),
            "intent-low.json": intent("low", priority=2),
        }
    )
    assert site.once("-max-priority", "5").returncode == 0
    listed = {each["intent_file"]: each["priority"] for each in site.asked("list")}
    assert listed == {"intent-high.json": 5, "intent-low.json": 2}


def test_a_file_over_the_size_limit_is_rejected_unread(site: Site) -> None:
    site.environment["CONDUCTOR_MAX_FILE_SIZE"] = "1KiB"
    site.hand_over_all({"intent-a.json": intent(description="x" * 1020)})
    assert site.once().returncode == 8
    verdict = site.verdict("intent-a.json")
    assert verdict["error"]["code"] == "too_large"
    assert "intent_sha256" not in verdict


def test_a_schema_of_the_operator_decides(site: Site) -> None:
    schema = site.top / "schema.json"
    schema.write_text(
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "properties": {"target": {"pattern": "^cnf-"}},
            }
        )
    )
    site.hand_over_all({"intent-a.json": intent("amf"), "intent-b.json": intent("cnf-amf")})
    assert site.once("-schema", str(schema)).returncode == 8
    assert site.names_in("processed") == ["intent-b.json"]


# Where things are kept.


def test_the_state_dir_may_stand_elsewhere(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once("-state-dir", "elsewhere").returncode == 0
    assert (site.top / "elsewhere/journal.db").exists()
    assert not (site.state / "journal.db").exists()
    assert site.names_in("processed") == ["intent-a.json"]
    listed = site.asked("list", "-state-dir", "elsewhere")
    assert [one["intent_file"] for one in listed] == ["intent-a.json"]


def test_a_file_of_settings_counts_less_than_the_environment_and_flags(site: Site) -> None:
    (site.top / "conductor.toml").write_text(
        'porch = "builtin"\nmode = "structured"\nmax-attempts = 7\nout = "from-file"\n'
    )
    site.flags = ("-config", "conductor.toml", "-mode", "direct")
    site.environment["CONDUCTOR_OUT"] = "from-environment"
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once().returncode == 0
    assert site.verdict("intent-a.json")["mode"] == "direct"
    assert (site.top / "from-environment/oran-sim/amf/scaling-patch.yaml").exists()
    assert not (site.top / "from-file").exists()


def test_structured_mode_writes_a_whole_package(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once("-mode", "structured").returncode == 0
    package = site.out / "oran-sim/amf"
    assert {"Kptfile", "README.md", "kustomization.yaml"} <= set(os.listdir(package))
    told = {output["path"] for output in site.verdict("intent-a.json")["outputs"]}
    assert told == {f"oran-sim/amf/{name}" for name in os.listdir(package)}


@pytest.mark.parametrize("mode", ["direct", "structured"])
def test_the_porch_command_of_ours_writes_what_the_built_in_writes(site: Site, mode: str) -> None:
    body = intent(replicas=7, correlation_id="c-1", constraints={"kpt_package_name": "pkg"})
    runs_ours = "import sys, conductor_loop.cli.porch as p; sys.exit(p.main())"
    porch = site.porch(f"exec '{sys.executable}' -c '{runs_ours}' \"$@\"")
    for out, command in (("one", "builtin"), ("two", porch)):
        site.hand_over_all({f"intent-{out}.json": body})
        assert site.once("-porch", command, "-out", out, "-mode", mode).returncode == 0
    assert contents(site.top / "one") == contents(site.top / "two") != {}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_package_edited_by_hand_is_replaced_and_that_is_said(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent(replicas=1)})
    site.once()
    patch = site.out / "oran-sim/amf/scaling-patch.yaml"
    clean = patch.read_bytes()
    patch.write_bytes(clean + b"# by hand\n")
    site.hand_over_all({"intent-b.json": intent(replicas=1)})
    done = site.once()
    assert patch.read_bytes() == clean
    (note,) = site.verdict("intent-b.json")["notes"]
    assert "hand" in note
    assert note in done.stderr


@pytest.mark.parametrize(
    "body",
    [intent(intent_type="configuration"), intent(intent_type="deployment")],
    ids=["configuration", "deployment"],
)
def test_what_the_built_in_cannot_do_fails_clearly(site: Site, body: bytes) -> None:
    site.hand_over_all({"intent-a.json": body})
    assert site.once().returncode == 8
    error = site.verdict("intent-a.json")["error"]
    assert error["message"]
    assert error["hint"]
    assert not error["retryable"]
    assert not list(site.out.rglob("*.yaml"))


# The log.


def test_a_log_file_that_was_rotated_is_opened_anew(site: Site) -> None:
    log = site.top / "conductor.log"
    with site.daemon("-log-file", str(log)):
        site.hand_over("intent-a.json", intent("amf"))
        site.verdict("intent-a.json")
        wait_until(lambda: "intent-a.json" in log.read_text(), "it is logged")
        os.rename(log, site.top / "conductor.log.1")
        site.hand_over("intent-b.json", intent("upf"))
        wait_until(lambda: log.exists() and "intent-b.json" in log.read_text(), "it goes on")
    assert "intent-b.json" not in (site.top / "conductor.log.1").read_text()
    assert log.stat().st_mode & 0o007 == 0


def test_every_line_about_an_intent_has_its_id_its_file_and_its_correlation_id(site: Site) -> None:
    porch = site.porch(
        'case $name in *-flaky.json) [ -e "$top/again" ] || { : > "$top/again"; exit 75; } ;;\n'
        "*-bad.json) exit 2 ;; esac"
    )
    files = {
        f"intent-{name}.json": intent(name, correlation_id=f"c-{name}")
        for name in ("good", "flaky", "bad")
    }
    files["intent-rejected.json"] = intent("rejected", -1, correlation_id="c-rejected")
    with site.daemon("-porch", porch, "-log-level", "debug") as daemon:
        site.hand_over_all(files)
        site.verdicts(*files)
        site.hand_over("intent-good.json", files["intent-good.json"])
        site.wait_for_final(5)
        assert daemon.stop() == 0
        ids = {site.intent_id(name) for name in files}
        # Before a file is claimed it is no intent, and has no id: the folder tells of its name.
        log = [line for line in daemon.log() if line["log.logger"] != "conductor_loop.folder"]
    lines = [line for line in log if "conductor.intent.id" in line or "intent-" in line["message"]]
    assert len(lines) > 10
    assert ids <= {line["conductor.intent.id"] for line in lines}
    for line in lines:
        stem = line["file.name"].removeprefix("intent-").removesuffix(".json")
        assert line["conductor.correlation_id"] == f"c-{stem}"


def test_a_log_in_words_shows_the_same(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent(correlation_id="c-1")})
    done = site.once("-log-format", "text")
    (line,) = [line for line in done.stderr.splitlines() if "published" in line]
    assert "intent.file=intent-a.json" in line
    assert "correlation_id=c-1" in line


def test_an_unknown_variable_of_ours_only_warns(site: Site) -> None:
    site.environment["CONDUCTOR_LOOP_PORT_9090_TCP"] = "tcp://10.0.0.1:9090"
    site.hand_over_all({"intent-a.json": intent()})
    done = site.once()
    assert done.returncode == 0
    assert "CONDUCTOR_LOOP_PORT_9090_TCP" in done.stderr


def test_all_mistakes_are_told_at_once_and_nothing_is_touched(site: Site) -> None:
    done = site.command("-timeout", "soon", "-workers", "0", "-mode", "fast")
    assert done.returncode == 2
    assert done.stderr.count("ERROR: ") == done.stderr.count("hint: ") == 3
    assert not site.handoff.exists()


def test_a_daemon_goes_on_when_nobody_reads_its_log_any_more(site: Site) -> None:
    site.handoff.mkdir()
    reading, writing = os.pipe()
    command = [*COMMAND, *site.flags, "-log-level", "debug"]
    child = subprocess.Popen(command, cwd=site.top, stderr=writing, env=site.environment)
    try:
        os.close(writing)
        os.close(reading)
        site.hand_over("intent-a.json", intent())
        assert site.verdict("intent-a.json")["status"] == "success"
        child.terminate()
        assert child.wait(PATIENCE) == 0
    finally:
        child.kill()
        child.wait()
