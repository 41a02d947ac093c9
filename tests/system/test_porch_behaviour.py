"""Porches that misbehave: what becomes of the intent, and that nothing of them is left."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest

from conductor_loop.core.states import State
from tests.system.daemon import Daemon, Site, Verdict, intent, wait_until

ALONE = {"intent-a.json": intent()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.hand_over_all(ALONE)
    return site


def run_alone(site: Site, script: str, *flags: str) -> Verdict:
    """One intent, run by a porch of these shell lines, to its verdict."""
    done = site.once("-porch", site.porch(script), *flags)
    verdict = site.verdict("intent-a.json")
    assert done.returncode == (0 if verdict["status"] == "success" else 8)
    return verdict


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


# The end of a run, by its exit status.

STATUSES = {
    0: ("success", 1),
    1: ("failed", 1),
    2: ("failed", 1),
    3: ("failed", 3),
    4: ("failed", 3),
    5: ("failed", 3),
    75: ("failed", 3),
    124: ("timeout", 3),
    42: ("failed", 1),
    130: ("failed", 1),  # what a shell says of a command that ended by SIGINT
    143: ("failed", 1),
    255: ("failed", 1),
}


@pytest.fixture(scope="module")
def by_status(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One intent per exit status, all of one target: failures of one alone are no outage."""
    site = Site(tmp_path_factory.mktemp("statuses"))
    porch = site.porch('status=${name#intent-}; exit "${status%.json}"')
    site.hand_over_all({f"intent-{s}.json": intent("amf", s % 100) for s in STATUSES})
    assert site.once("-porch", porch).returncode == 8
    return site


@pytest.mark.parametrize("status", STATUSES)
def test_an_exit_status_means_what_the_contract_says(by_status: Site, status: int) -> None:
    verdict = by_status.verdict(f"intent-{status}.json")
    assert (verdict["status"], len(verdict["attempts"])) == STATUSES[status]
    exit_code = verdict.get("error", {"exit_code": 0})["exit_code"]
    assert exit_code == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
def test_death_by_a_signal_is_retried_then_failed_and_never_success(
    site: Site, number: signal.Signals
) -> None:
    verdict = run_alone(site, f'echo run >> "$top/ledger"; kill -{int(number)} $$', "-workers", "1")
    assert verdict["status"] == "failed"
    assert verdict["error"]["signal"] == number
    assert [attempt["outcome"] for attempt in verdict["attempts"]] == ["crashed"] * 3
    assert len(site.ledger()) == 3


def test_row_42_crashes_of_two_targets_end_failed(site: Site) -> None:
    site.hand_over_all({"intent-b.json": intent("upf")})
    done = site.once("-porch", site.porch("kill -9 $$"), "-timeout", "2s")
    assert done.returncode == 8
    assert site.counts() == {State.FAILED: 2}


def test_somebody_elses_change_at_the_same_time_is_tried_again(site: Site) -> None:
    verdict = run_alone(
        site,
        '[ -e "$top/again" ] && exit 0; : > "$top/again"\n'
        'echo "the object has been modified; please apply your changes" >&2; exit 1',
    )
    assert verdict["status"] == "success"
    assert len(verdict["attempts"]) == 2


# Porches that do not end.


def test_past_its_deadline_it_is_ended_and_the_verdict_is_timeout(site: Site) -> None:
    script = 'echo $$ >> "$top/ledger"; exec /bin/sleep 1000'
    verdict = run_alone(site, script, "-timeout", "100ms", "-max-attempts", "2")
    assert verdict["status"] == "timeout"
    assert [attempt["outcome"] for attempt in verdict["attempts"]] == ["timeout"] * 2
    assert not any(is_running(int(pid)) for pid in site.ledger())
    assert site.names_in("failed") == ["intent-a.json", "intent-a.json.error.log"]


def test_row_29_one_that_ignores_sigterm_is_killed_after_the_grace(site: Site) -> None:
    script = "trap '' TERM; echo $$ >> \"$top/ledger\"; while :; do /bin/sleep 1000; done"
    flags = ("-timeout", "100ms", "-grace", "50ms", "-max-attempts", "1")
    verdict = run_alone(site, script, *flags)
    assert verdict["status"] == "timeout"
    assert not is_running(int(site.ledger()[0]))


def test_success_in_answer_to_sigterm_comes_too_late(site: Site) -> None:
    script = "trap 'exit 0' TERM; while :; do /bin/sleep 0.01; done"
    verdict = run_alone(site, script, "-timeout", "100ms", "-max-attempts", "1")
    assert verdict["status"] == "timeout"


@pytest.mark.needs("setsid")
@pytest.mark.parametrize("status", [0, 2])
def test_row_28_a_daemon_that_porch_leaves_behind_does_not_outlive_the_run(
    site: Site, status: int
) -> None:
    script = (
        'setsid sh -c \'(echo $$ >> "$0/ledger"; exec /bin/sleep 1000) &\' "$top"\n'
        'until [ -e "$top/ledger" ]; do /bin/sleep 0.01; done\n'
        f"exit {status}"
    )
    verdict = run_alone(site, script)
    assert verdict["status"] == ("failed" if status else "success")
    left = [
        path.name
        for path in Path("/proc").glob("[0-9]*")
        if runs_with(path, f"CONDUCTOR_INTENT_ID={verdict['intent_id']}".encode())
    ]
    assert left == []


def runs_with(process: Path, word: bytes) -> bool:
    try:
        return word in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def test_a_hung_porch_does_not_keep_other_targets_waiting(site: Site) -> None:
    porch = site.porch("case $name in *-hangs.json) exec /bin/sleep 1000 ;; esac")
    with site.daemon("-porch", porch, "-grace", "10ms"):
        site.hand_over("intent-hangs.json", intent("hung"))
        site.wait_for_state("intent-hangs.json", State.RUNNING)
        for n in range(20):
            site.hand_over(f"intent-{n}.json", intent(f"t{n}"))
        verdicts = site.verdicts(*(f"intent-{n}.json" for n in range(20)))
        assert {verdict["status"] for verdict in verdicts} == {"success"}


# What it prints.


def test_row_31_200_megabytes_of_output_cost_no_memory(site: Site) -> None:
    porch = site.porch("/usr/bin/head -c 200000000 /dev/zero | /usr/bin/tr '\\0' x; exit 2")
    with site.daemon("-porch", porch) as daemon:
        before = daemon.resident_kilobytes()
        verdict = site.verdict("intent-a.json")
        assert daemon.resident_kilobytes() - before < 8 * 1024
        assert largest_child(daemon) < 40 * 1024
    assert verdict["error"]["stdout"].startswith("xxx")
    assert site.verdict_path("intent-a.json").stat().st_size < 100_000
    assert (site.handoff / "failed/intent-a.json.error.log").stat().st_size < 100_000


def largest_child(daemon: Daemon) -> int:
    """The most memory that a child of the daemon ever had, in KiB."""
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    peaks = [Path(f"/proc/{pid}/status").read_text().split("VmHWM:", 1)[1] for pid in children]
    return max(int(peak.split()[0]) for peak in peaks)


def test_what_it_prints_is_in_verdict_and_error_log_with_nothing_hidden_in_it(site: Site) -> None:
    verdict = run_alone(site, "printf 'gr\\303\\274n \\033[2J\\377'; echo why >&2; exit 2")
    assert verdict["error"]["stderr"].startswith("why")
    assert verdict["error"]["stdout"].startswith("grün ")
    log = (site.handoff / "failed/intent-a.json.error.log").read_bytes()
    text = site.verdict_path("intent-a.json").read_bytes()
    assert "grün".encode() in log
    for data in (log, text):
        assert b"\x1b" not in data
        assert data.decode()


# What it is given.


def test_it_is_given_a_private_copy_under_the_name_that_was_handed_over(site: Site) -> None:
    script = (
        '/usr/bin/stat -c "%a %n" "$2" >> "$top/ledger"\n'
        '/usr/bin/stat -c %a "${2%/*}" >> "$top/ledger"; /bin/cat "$2" >> "$top/ledger"'
    )
    assert run_alone(site, script)["status"] == "success"
    copy, folder, body = site.ledger()
    assert copy.startswith("644 ")
    assert copy.endswith("/intent-a.json")
    assert not Path(copy[4:]).exists()
    assert folder == "700"
    assert body.encode() == ALONE["intent-a.json"]


@pytest.mark.parametrize(
    "name",
    [
        "intent-$(touch owned).json",
        "intent-a b;c|d&e.json",
        "intent-'\"\n\t.json",
        "intent-é\u202e\U0001f600.json",
        "intent--out.json",
        "intent-" + "x" * 243 + ".json",
    ],
)
def test_a_hostile_name_is_one_word_for_porch(site: Site, name: str) -> None:
    site.hand_over_all({name: intent("odd")})
    porch = site.porch('printf "%s\\0" "$#" "$name" >> "$top/words"; /bin/cat "$2" > "$out/copy"')
    assert site.once("-porch", porch, "-workers", "1").returncode == 0
    words = (site.top / "words").read_bytes().decode().split("\0")
    assert words == ["4", "intent-a.json", "4", name, ""]
    assert (site.handoff / "processed" / name).read_bytes() == intent("odd")
    assert sorted(path.name for path in site.top.iterdir()) == ["handoff", "out", "porch", "words"]


def test_its_environment_is_clean_but_for_what_the_operator_lists(site: Site) -> None:
    site.environment |= {
        "SECRET": "1",
        "KUBECONFIG": "/k",
        "LD_LIBRARY_PATH": "/nowhere",
        "CONDUCTOR_CHILD_ENV": "KUBECONFIG",
    }
    assert run_alone(site, '/usr/bin/env > "$top/ledger"')["status"] == "success"
    names = {line.partition("=")[0] for line in site.ledger()}
    assert "KUBECONFIG" in names
    assert {"CONDUCTOR_ATTEMPT", "CONDUCTOR_INTENT_ID", "PATH"} <= names
    assert not names & {"SECRET", "LD_LIBRARY_PATH", "CONDUCTOR_CHILD_ENV"}


def test_it_has_nothing_to_read_and_no_descriptor_of_ours(site: Site) -> None:
    script = 'read -r line && exit 2; /bin/ls "/proc/$$/fd" >> "$top/ledger"'
    assert run_alone(site, script)["status"] == "success"
    # The shell itself keeps its script open, from 10 up.
    assert {fd for fd in site.ledger() if int(fd) < 10} == {"0", "1", "2"}


def test_the_verdict_names_the_very_porch_that_ran(site: Site) -> None:
    verdict = run_alone(site, "exit 0")
    digest = hashlib.sha256((site.top / "porch").read_bytes()).hexdigest()
    assert verdict["porch_sha256"] == digest


def test_its_outputs_are_unknown_and_never_guessed(site: Site) -> None:
    verdict = run_alone(site, 'echo package > "$out/package.yaml"')
    assert verdict["outputs"] is None
    assert verdict["outputs_unknown"]
    assert json.loads(site.verdict_path("intent-a.json").read_bytes()) == verdict


def test_an_intents_own_deadline_is_kept(site: Site) -> None:
    porch = site.porch("exec /bin/sleep 1000")
    site.hand_over_all({"intent-b.json": intent("upf", timeout="1s")})
    with site.daemon("-porch", porch, "-max-attempts", "1", "-timeout", "1h", "-grace", "1ms"):
        verdict = site.verdict("intent-b.json")
        wait_until(lambda: site.counts()[State.RUNNING] == 1, "the other one runs on")
    assert verdict["status"] == "timeout"
    assert "1s" in verdict["message"]


def test_no_intent_gets_longer_than_the_operator_allows(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent("upf", timeout="1h")})
    verdict = run_alone(
        site, "exec /bin/sleep 1000", "-max-attempts", "1", "-timeout", "100ms", "-grace", "1ms"
    )
    assert verdict["status"] == "timeout"
    assert "100ms" in verdict["message"]


# What it printed.

LEAKS = r"""
printf '\033]0;title\007\033[31mclone https://bot:hunter2@git.example failed\033[0m\n' >&2
printf '{"@timestamp": "now", "message": "forged"}\n' >&2
printf 'password=hunter2 Authorization: Bearer hunter2\n' >&2
printf 'token: hunter2\n\033[2Jgone\r\n'
exit 1
"""


def test_what_a_porch_copies_can_be_replaced_by_its_next_attempt(open_site: Site) -> None:
    site = open_site  # where no capability of a daemon of root's reaches its children
    site.hand_over_all(ALONE)
    script = 'cp "$2" "$4/" || exit 1; test -e "$4/again" || { touch "$4/again"; kill -9 $$; }'
    verdict = run_alone(site, script, "-sandbox", "none", "-retry-backoff", "1ms")
    assert (verdict["status"], len(verdict["attempts"])) == ("success", 2)


def test_row_32_no_secret_and_no_escape_that_porch_prints_gets_anywhere(site: Site) -> None:
    site.environment["CONDUCTOR_ENCRYPTION_ENABLED"] = "false"
    done = site.once("-porch", site.porch(LEAKS), "-log-level", "debug")
    told = site.command("why", "intent-a.json")
    places = {
        "verdict": site.verdict_path("intent-a.json").read_bytes(),
        "error log": (site.handoff / "failed" / "intent-a.json.error.log").read_bytes(),
        "log": done.stderr.encode(),
        "terminal": (told.stdout + told.stderr).encode(),
        "journal": b"".join(path.read_bytes() for path in site.state.glob("journal.db*")),
    }
    for place, data in places.items():
        assert b"hunter2" not in data, place
        assert place in ("log", "terminal") or b"git.example" in data, place
        assert place == "journal" or b"\x1b" not in data, place
    # A line that imitates ours stays inside a text of ours.
    log = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert not any(line["message"] == "forged" for line in log)
    error = site.verdict("intent-a.json")["error"]
    assert error["stderr"].startswith("clone https://[scrubbed]@git.example failed\\n")
    assert site.command("verify", "--all").returncode == 0


def test_with_security_off_what_porch_prints_is_cleaned_and_not_scrubbed(
    open_site: Site,
) -> None:
    site = open_site  # an unconfined porch reaches only what its user may
    site.hand_over_all(ALONE)
    site.environment["CONDUCTOR_SECURITY_ENABLED"] = "false"
    error = run_alone(site, LEAKS)["error"]
    assert error["stderr"].startswith("clone https://bot:hunter2@git.example failed\\n")
