"""The original's README, followed line by line: what it tells people to type must work here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from conductor_loop.adapters.users import user_name
from tests.system.daemon import COMMAND, LogLine, Site, intent

EXAMPLE = b"""{
  "intent_type": "scaling",
  "target": "cnf-simulator",
  "namespace": "oran-sim",
  "replicas": 3,
  "reason": "High load detected",
  "source": "planner",
  "correlation_id": "scale-2024-001"
}
"""
"""The README's example, byte for byte."""
LEDGER_PORCH = 'echo "$*" >> "$top/ledger"; /bin/cat "$2" > "$4/$name"'
ORDINARY_USER = 65534


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder with a space in its path."""
    return new_site(tmp_path / "a place")


def new_site(top: Path) -> Site:
    """A folder whose `bin` is on PATH and holds a porch, as the README asks for."""
    site = Site(top)
    site.flags = ()
    (top / "bin").mkdir(parents=True)
    site.porch(LEDGER_PORCH, "bin/porch")
    site.environment["PATH"] = f"{top / 'bin'}:/usr/bin:/bin"
    return site


def ledger(site: Site) -> list[str]:
    return (site.top / "bin/ledger").read_text().splitlines()


# Basic usage, and the pipeline that waits for a verdict.


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Typed as in the README: no flag at all, a file made by `echo`, and its wait loop."""
    site = new_site(tmp_path_factory.mktemp("readme"))
    site.environment["SCALING_INTENT"] = EXAMPLE.decode()
    with site.daemon():
        subprocess.run(
            [
                "bash",
                "-ec",
                'echo "$SCALING_INTENT" > handoff/intent-ci-deploy.json\n'
                "timeout 60 bash -c 'until [ -f handoff/status/intent-ci-deploy.json.status ];"
                " do sleep 1; done'\n"
                "cat handoff/status/intent-ci-deploy.json.status > told",
            ],
            cwd=site.top,
            env=site.environment,
            check=True,
            timeout=90,
        )
        yield site


def test_the_wait_loop_of_a_pipeline_ends_with_the_verdict(pipeline: Site) -> None:
    assert json.loads((pipeline.top / "told").read_text())["status"] == "success"


def test_a_verdict_has_the_original_fields_first_and_in_their_form(pipeline: Site) -> None:
    verdict = pipeline.verdict("intent-ci-deploy.json")
    assert list(verdict)[:7] == [
        "intent_file", "status", "message", "timestamp", "processed_by", "mode", "porch_path",
    ]  # fmt: skip
    message, timestamp = verdict.pop("message"), verdict.pop("timestamp")
    assert re.fullmatch(r"Processed by worker \d in [\d.]+(µs|ms|s)", message)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", timestamp)
    assert list(verdict.items())[:5] == [
        ("intent_file", "intent-ci-deploy.json"),
        ("status", "success"),
        ("processed_by", "conductor-loop"),
        ("mode", "direct"),
        ("porch_path", "porch"),
    ]


def test_porch_is_run_as_the_readme_says_for_direct_mode(pipeline: Site) -> None:
    (line,) = ledger(pipeline)
    out = re.escape(str(pipeline.out))
    assert re.fullmatch(rf"-intent /\S+/intent-ci-deploy\.json -out {out}", line)
    assert (pipeline.out / "intent-ci-deploy.json").read_bytes().rstrip() == EXAMPLE.rstrip()


def test_the_file_is_organised_into_processed(pipeline: Site) -> None:
    assert pipeline.names_in("processed") == ["intent-ci-deploy.json"]
    assert pipeline.names_in("failed") == []
    assert not (pipeline.handoff / "intent-ci-deploy.json").exists()


def test_a_custom_configuration_is_typed_with_two_dashes(site: Site) -> None:
    porch = site.porch(LEDGER_PORCH, "my-porch")
    data = site.top / "data"
    site.handoff, site.out = data / "intents", data / "output"
    site.state = site.handoff / ".conductor"
    data.mkdir()
    site.flags = (
        "--handoff", str(site.handoff), "--porch", porch, "--mode", "structured",
        "--out", str(site.out), "--debounce", "1s",
    )  # fmt: skip
    with site.daemon():
        site.hand_over("intent-a.json", EXAMPLE)
        verdict = site.verdict("intent-a.json")
    assert (verdict["mode"], verdict["porch_path"]) == ("structured", porch)
    (line,) = site.ledger()
    assert line.endswith(f"-out {site.out} -structured")


def test_once_processes_existing_files_and_exits(site: Site) -> None:
    site.hand_over_all({"intent-a.json": EXAMPLE, "intent-b.json": intent("upf")})
    done = site.command("--once")
    assert done.returncode == 0
    assert re.fullmatch(r"2 published in \S+\n", done.stdout)
    assert site.names_in("processed") == ["intent-a.json", "intent-b.json"]


def test_once_with_nothing_to_do_says_so(site: Site) -> None:
    done = site.command("-once")
    assert done.returncode == 0
    assert done.stdout.startswith("nothing to do in ")


def test_once_ends_with_8_when_an_intent_was_rejected(site: Site) -> None:
    site.hand_over_all({"intent-a.json": EXAMPLE, "intent-b.json": b"{}"})
    done = site.command("-once")
    assert done.returncode == 8
    assert done.stdout.startswith("1 published, 1 rejected in ")
    assert "ERROR: not all succeeded\nhint: " in done.stderr


def test_once_gives_up_on_a_file_that_somebody_keeps_open_and_keeps_it(site: Site) -> None:
    site.hand_over_all({"intent-b.json": intent()})
    with (site.handoff / "intent-a.json").open("wb") as file:
        file.write(intent("smf"))
        file.flush()
        done = site.once("-timeout", "300ms")
    assert done.returncode == 1
    assert "gave up, 1 intent is kept for the next start" in done.stderr
    assert "intent-a.json is open for writing" in done.stderr
    assert site.names_in("processed") == ["intent-b.json"]
    assert site.once().returncode == 0
    assert site.names_in("processed") == ["intent-a.json", "intent-b.json"]


def test_an_out_that_is_a_file_is_told_as_that(site: Site) -> None:
    (site.top / "file").touch()
    done = site.once("-porch", site.porch("exit 0"), "-out", "file")
    assert done.returncode == 1
    assert "Failed to create output directory file: File exists" in done.stderr


def test_once_shows_its_progress_on_a_terminal(site: Site) -> None:
    site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(20)})
    ours, theirs = os.openpty()
    command = [*COMMAND, "-once", "-porch", "builtin"]
    child = subprocess.Popen(command, cwd=site.top, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b"".join(iter(lambda: read_terminal(ours), b"")).decode()
    os.close(ours)
    assert child.wait(60) == 0
    assert "20/20" in shown
    assert "20 published in " in shown
    assert "{" not in shown  # for people: no JSON


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: nobody has the other end any more
        return b""


def test_a_duplicate_alone_is_no_failure_of_once(site: Site) -> None:
    site.hand_over_all({"intent-a.json": EXAMPLE})
    assert site.command("-once").returncode == 0
    site.hand_over_all({"intent-a.json": EXAMPLE})
    done = site.command("-once")
    assert done.returncode == 0
    assert done.stdout.startswith("1 duplicate in ")


def test_the_handoff_folder_looks_like_the_drawing(site: Site) -> None:
    site.hand_over_all({"intent-a.json": EXAMPLE, "intent-b.json": b"{}"})
    site.command("-once")
    assert site.names_in(".") == [".conductor", "failed", "processed", "status"]
    assert site.names_in("processed") == ["intent-a.json"]
    assert site.names_in("failed") == ["intent-b.json", "intent-b.json.error.log"]
    assert site.names_in("status") == ["history", "intent-a.json.status", "intent-b.json.status"]
    assert site.names_in("status/history") == []


def test_an_error_log_tells_what_where_why_and_the_next_step(site: Site) -> None:
    site.porch("echo 'no such cluster' >&2; exit 2", "bin/porch")
    site.hand_over_all({"intent-a.json": EXAMPLE})
    assert site.command("-once").returncode == 8
    log = (site.handoff / "failed/intent-a.json.error.log").read_text()
    for words in (
        "porch did not find the target (exit 2)",
        "file:           intent-a.json",
        "exit code:      2",
        "conductor-loop retry",
        "no such cluster",
    ):
        assert words in log


# Troubleshooting.


def test_a_missing_porch_is_told_in_the_original_words(site: Site) -> None:
    site.hand_over_all({"intent-a.json": EXAMPLE})
    os.unlink(site.top / "bin/porch")
    done = site.command()
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error == (
        "ERROR: Failed to create watcher: porch validation failed: "
        'exec: "porch": executable file not found in $PATH'
    )
    assert "-porch /path/to/porch" in hint
    assert "-porch builtin" in hint


def test_without_porch_nothing_is_picked_up(site: Site) -> None:
    site.hand_over_all({"intent-a.json": EXAMPLE})
    assert site.command("-porch", "./none").returncode == 1
    assert site.names_in(".") == ["intent-a.json"]
    assert not site.out.exists()


@pytest.fixture
def ordinary_site() -> Iterator[Site]:
    """A folder of an ordinary user, who also types the commands there."""
    # Not pytest's own folder: only its owner may enter that.
    top = Path(mkdtemp())
    site = Site(top)
    if os.geteuid() == 0:
        site.before = as_ordinary_user()
        os.chown(top, ORDINARY_USER, ORDINARY_USER)
    yield site
    top.chmod(0o755)
    shutil.rmtree(top)


def as_ordinary_user() -> list[str]:
    """What root puts before a command; it may read everything, as this Python may be root's own."""
    rights = "-all,+dac_read_search"
    user = f"--reuid={ORDINARY_USER}", f"--regid={ORDINARY_USER}", "--clear-groups"
    sets = (f"--{kind}={rights}" for kind in ("inh-caps", "ambient-caps", "bounding-set"))
    return ["setpriv", *user, *sets]


@pytest.mark.parametrize("flag", ["-handoff", "-state-dir"])
def test_a_file_in_place_of_a_folder_is_told_to_be_moved_away(site: Site, flag: str) -> None:
    (site.top / "file").touch()
    done = site.command("-once", "-porch", "builtin", flag, str(site.top / "file"))
    assert done.returncode == 1
    assert "file exists" in done.stderr
    assert "hint: move away what stands there, or name another folder" in done.stderr


@pytest.mark.needs("setpriv")
def test_no_permission_is_told_in_the_original_words(ordinary_site: Site) -> None:
    ordinary_site.top.chmod(0o555)
    done = ordinary_site.command("-porch", "builtin")
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error == "ERROR: Failed to create handoff directory: mkdir handoff: permission denied"
    assert hint.startswith("hint: ")


@pytest.mark.needs("setpriv")
def test_an_ordinary_user_needs_nothing_more(ordinary_site: Site) -> None:
    porch = ordinary_site.porch('/bin/cat "$2" > "$4/$name"')
    assert ordinary_site.once("-porch", porch).returncode == 0  # which makes the folders
    ordinary_site.hand_over("intent-a.json", EXAMPLE)
    assert ordinary_site.once("-porch", porch).returncode == 0
    assert (ordinary_site.out / "intent-a.json").read_bytes() == EXAMPLE
    assert ordinary_site.verdict("intent-a.json")["submitted_by"] == user_name(os.geteuid())


def test_the_debug_level_logs_what_the_readme_promises(site: Site) -> None:
    site.environment["CONDUCTOR_LOG_LEVEL"] = "debug"
    site.hand_over_all({"intent-a.json": EXAMPLE})
    with site.daemon() as daemon:
        site.verdict("intent-a.json")
        site.hand_over("intent-b.json", intent("upf"))
        site.verdict("intent-b.json")
        assert daemon.stop() == 0
        log = daemon.log()
    assert tells(log, "conductor_loop.folder")  # file watcher events
    assert any("worker" in line["message"] or "worker" in line for line in log)
    assert any("-intent" in line["message"] for line in log)  # porch command execution details
    assert {"admitted", "started"} <= {line["message"] for line in log}  # state management


def tells(log: list[LogLine], logger: str) -> bool:
    return any(line["log.logger"] == logger and line["log.level"] == "debug" for line in log)


def test_each_file_is_known_by_one_id_in_log_journal_and_verdict(site: Site) -> None:
    site.hand_over_all({"intent-a.json": EXAMPLE})
    done = site.command("-once")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    (line,) = (line for line in lines if "conductor.intent.id" in line)
    assert line["conductor.intent.id"] == site.verdict("intent-a.json")["intent_id"]
    assert line["conductor.intent.id"] == site.intent_id("intent-a.json")


# Moving from porch typed by hand.


def test_a_name_that_is_no_intent_is_explained_and_left_alone(site: Site) -> None:
    site.handoff.mkdir()
    (site.handoff / "intent.json").write_bytes(EXAMPLE)  # `cp intent.json handoff/`
    done = site.command("-once")
    assert done.returncode == 0
    assert "intent.json is left alone" in done.stderr
    (ignored,) = site.asked("list", "--ignored")
    assert ignored["name"] == "intent.json"
    assert "intent-*.json" in ignored["why"] + ignored["remedy"]


def test_the_samples_of_the_repository_run(site: Site) -> None:
    examples = Path(__file__).parents[2] / "examples/handoff"
    shutil.copytree(examples, site.handoff)
    done = site.command("-once", "-porch", "builtin")
    assert done.returncode == 8  # two of the samples show what a rejection looks like
    assert len(site.names_in("processed")) == 6
    assert len([n for n in site.names_in("failed") if n.endswith(".error.log")]) == 2
    assert len(list(site.out.rglob("*.yaml"))) == 5
