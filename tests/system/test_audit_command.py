"""`conductor-loop audit` on what a real daemon left: proved, forged, cut, switched off."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conductor_loop.core.audit.note import parse_checkpoint
from tests.ocsf_schema import faults as ocsf_faults
from tests.system.daemon import Site, intent, wait_until
from tests.system.test_noticing import noticed

_NOT_GOOD = 8


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.hand_over_all(
        {
            "intent-a.json": intent("amf", 1),
            "intent-b.json": intent("smf", 2),
            "intent-bad.json": b'{"a":1,"a":2}',
        }
    )
    made.once(*made.flags)
    return made


def _log(site: Site) -> Path:
    (path,) = (site.state / "audit").glob("*.jsonl")
    return path


def _verify(site: Site, *words: str) -> tuple[int, dict[str, Any]]:
    done = site.command("audit", "verify", *words, "--json")
    return done.returncode, json.loads(done.stdout)


def _faults(site: Site, *words: str) -> list[str]:
    status, report = _verify(site, *words)
    assert (status == _NOT_GOOD) == bool(report["faults"])
    return [fault["code"] for fault in report["faults"]]


def test_what_a_daemon_leaves_is_proved_whole_and_complete(site: Site) -> None:
    status, report = _verify(site, "--complete")
    assert (status, report["ok"], report["complete"], report["faults"]) == (0, True, True, [])
    assert (report["claimed"], report["ended"], report["open"]) == (3, 3, [])
    assert report["ended_in_order"]


def test_each_verdict_names_the_record_of_its_final_event(site: Site) -> None:
    records = {r["seq"]: r for r in map(json.loads, _log(site).read_text().splitlines())}
    for name in ("intent-a.json", "intent-b.json", "intent-bad.json"):
        verdict = site.verdict(name)
        record = records[verdict["audit_seq"]]
        assert record["resource"] == f"intent/{verdict['intent_id']}"
        assert record["action"] in ("intent.published", "intent.rejected")


def _edit(data: bytes) -> bytes:
    return data.replace(b"intent-b.json", b"intent-c.json")


def _cut(data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:4])


def _drop_the_third(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(lines[:2] + lines[3:])


def _swap(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    lines[2], lines[3] = lines[3], lines[2]
    return b"".join(lines)


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (_edit, "chain_broken"),
        (_drop_the_third, "not_dense"),
        (_swap, "not_dense"),
        (_cut, "tail_cut"),
        (lambda _: b"", "tail_cut"),
    ],
    ids=["edited", "removed", "reordered", "cut", "emptied"],
)
def test_row_26_the_first_bad_record_is_named_and_the_exit_status_is_8(
    site: Site, forge: Callable[[bytes], bytes], code: str
) -> None:
    log = _log(site)
    log.write_bytes(forge(log.read_bytes()))
    status, report = _verify(site)
    assert status == _NOT_GOOD
    first = report["faults"][0]
    assert first["code"] == code
    assert f"record {first['seq']}" in site.command("audit", "verify").stdout


def test_a_checkpoint_kept_elsewhere_is_an_anchor(site: Site) -> None:
    _, _, size, root, _ = parse_checkpoint((site.state / "audit" / "checkpoint").read_bytes())
    site.once(*site.flags)
    assert _faults(site, "--anchor", f"{size}:{root.hex()}") == []
    assert _faults(site, "--anchor", f"{size}:{bytes(32).hex()}") == ["anchor_wrong"]
    assert _faults(site, "--anchor", f"{size + 1000}:{root.hex()}") == ["tail_cut"]
    assert site.command("audit", "verify", "--anchor", "nonsense").returncode == 2


def _append_unsigned(site: Site, **fields: object) -> None:
    """As somebody without the key would: rightly chained, and signed by nobody."""
    data = _log(site).read_bytes()
    line = data.splitlines()[-1]
    last = json.loads(line)
    record = {
        "action": "", "actor": "conductor-loop", "details": {}, "event_id": last["event_id"],
        "outcome": "success", "prev": hashlib.sha256(line).hexdigest(), "resource": "audit",
        "seq": last["seq"] + 1, "timestamp": last["timestamp"], **fields,
    }  # fmt: skip
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    _log(site).write_bytes(data + text.encode() + b"\n")


def test_row_26_an_unsigned_line_hides_no_missing_verdict(site: Site) -> None:
    anchor = _verify(site)[1]["root"]
    _append_unsigned(
        site,
        action="retention.removed",
        details={"intents": [site.verdict("intent-a.json")["intent_id"]]},
        journal_seq=99,
    )
    site.verdict_path("intent-a.json").unlink()
    assert {"unsigned_forged", "verdict_missing"} <= set(_faults(site, "--complete"))
    assert _verify(site)[1]["root"] == anchor


def test_row_26_an_unsigned_record_that_tells_other_than_the_journal_is_forged(site: Site) -> None:
    log = _log(site)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    (site.state / "audit" / "checkpoint").unlink()
    _append_unsigned(site, action="control.paused", journal_seq=99)
    assert _faults(site) == ["unsigned_forged"]


def test_what_is_not_signed_is_neither_shown_nor_exported(site: Site) -> None:
    before = _log(site).read_bytes()
    _append_unsigned(site, action="control.paused", actor="mallory", journal_seq=99)
    assert "mallory" not in site.command("audit", "show").stdout
    done = site.command("audit", "export")
    assert done.stdout.encode() == before
    assert "left out: 1 records" in done.stderr


def test_row_26_a_last_record_that_was_cut_shows_against_the_checkpoint(site: Site) -> None:
    assert "the log ended in order" in site.command("audit", "verify").stdout
    log = _log(site)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert _faults(site) == ["tail_cut"]
    assert "did not end in order" in site.command("audit", "verify").stdout


def test_row_26_a_checkpoint_that_nobody_signed_is_a_fault(site: Site) -> None:
    note = site.state / "audit" / "checkpoint"
    lines = note.read_bytes().split(b"\n")
    note.write_bytes(b"\n".join([lines[0], b"3", *lines[2:]]))
    assert _faults(site) == ["checkpoint_wrong"]


def test_row_26_a_log_that_is_gone_is_an_alert_and_nothing_excuses_what_it_told(
    site: Site,
) -> None:
    shutil.rmtree(site.state / "audit")
    for name in ("intent-a.json", "intent-b.json", "intent-bad.json"):
        site.verdict_path(name).unlink()
    site.once(*site.flags)
    faults = _faults(site, "--complete")
    assert faults == ["gap_unexplained", *["final_untold"] * 3]
    (alert,) = [notice for notice in noticed(site) if notice.code == "audit_missing"]
    assert (alert.severity, alert.subject) == ("critical", "audit")


def test_row_26_a_log_that_is_gone_is_an_alert_also_when_it_is_switched_off(site: Site) -> None:
    shutil.rmtree(site.state / "audit")
    site.environment["CONDUCTOR_AUDIT_ENABLED"] = "false"
    site.once(*site.flags)
    assert "audit_missing" in [notice.code for notice in noticed(site)]
    del site.environment["CONDUCTOR_AUDIT_ENABLED"]
    site.once(*site.flags)
    assert "gap_unexplained" in _faults(site)


def test_row_25_an_old_journal_runs_nothing_again_with_the_log_switched_off(site: Site) -> None:
    kept = site.top / "kept"
    shutil.copytree(site.state, kept)
    site.hand_over("intent-c.json", intent("upf", 3))
    site.once(*site.flags)
    for path in site.state.glob("journal.db*"):
        path.unlink()
    for path in kept.glob("journal.db*"):
        shutil.copy(path, site.state)
    assert "journal_rolled_back" in _faults(site)

    for words in (["pause"], ["state", "discard", site.intent_id("intent-a.json")]):
        refused = site.command(*words)
        assert refused.returncode == 1
        assert "the journal is an old copy" in refused.stderr
    (found,) = [f for f in site.asked("doctor") if f["subject"] == "journal"]
    assert found["grade"] == "bad"
    assert "the journal is an old copy" in found["message"]

    site.environment["CONDUCTOR_AUDIT_ENABLED"] = "false"
    refused = site.command(*site.flags, "-once")
    assert refused.returncode == 1
    assert "the journal is an old copy" in refused.stderr


def test_a_verdict_that_somebody_took_away_is_missed(site: Site) -> None:
    site.verdict_path("intent-a.json").unlink()
    assert _faults(site) == []
    assert _faults(site, "--complete") == ["verdict_missing"]


def test_what_retention_removed_is_no_fault(site: Site) -> None:
    keeping = ("-retention", "1ms", "-failed-retention", "1ms", "-cleanup-interval", "50ms")
    with site.daemon(*keeping):
        wait_until(lambda: not list((site.handoff / "status").glob("*.status")), "all is removed")
    assert _faults(site, "--complete") == []


def test_a_daemon_that_runs_is_proved_as_well(site: Site) -> None:
    with site.daemon():
        site.hand_over("intent-c.json", intent("upf", 3))
        site.verdict("intent-c.json")
        assert _faults(site, "--complete") == []
    assert _faults(site, "--complete") == []


def test_switched_off_there_is_no_log_and_the_next_one_says_so(site: Site) -> None:
    before = _log(site).read_bytes()
    site.environment["CONDUCTOR_AUDIT_ENABLED"] = "false"
    site.hand_over("intent-c.json", intent("upf", 3))
    done = site.once(*site.flags)
    assert _log(site).read_bytes() == before
    assert "audit_seq" not in site.verdict("intent-c.json")
    assert "switched off" in done.stderr
    assert "audit log    switched off" in site.command("doctor", "-porch", "builtin").stdout

    del site.environment["CONDUCTOR_AUDIT_ENABLED"]
    site.once(*site.flags)
    status, report = _verify(site, "--complete")
    assert (status, report["faults"]) == (0, [])
    assert any("switched_off" in note for note in report["notes"])


def test_show_filters_and_export_writes_lines_that_are_the_log(site: Site) -> None:
    assert site.command("audit", "export").stdout.encode() == _log(site).read_bytes()
    verdict = site.verdict("intent-a.json")
    shown = site.asked("audit", "show", "--intent", verdict["intent_id"])
    assert [record["action"] for record in shown] == [
        "intent.admitted",
        "intent.started",
        "intent.published",
    ]
    severe = site.asked("audit", "show", "--severity", "medium")
    assert "intent.rejected" in [record["action"] for record in severe]
    assert {record["severity"] for record in severe} <= {"medium", "high", "critical"}
    assert site.asked("audit", "show", "--since", "2999-01-01") == []
    assert len(site.asked("audit", "show", "--action", "log.")) == 2
    assert "intent.rejected" in site.command("audit", "show").stdout


def test_the_start_and_the_end_of_a_daemon_are_told_with_what_it_ran_with(site: Site) -> None:
    started, stopped = site.asked("audit", "show", "--action", "security.daemon")
    assert started["details"]["config_sha256"] == site.verdict("intent-a.json")["config_sha256"]
    assert {"pid", "version", "uid"} <= started["details"].keys()
    assert stopped["action"] == "security.daemon_stopped"


def test_who_paused_and_resumed_is_told(site: Site) -> None:
    for command in ("pause", "resume"):
        assert site.command(command, "-why", "a test").returncode == 0
    site.once(*site.flags)
    told = site.asked("audit", "show", "--action", "control.")
    assert [(r["action"], r["details"]["why"]) for r in told] == [
        ("control.paused", "a test"),
        ("control.resumed", "a test"),
    ]
    assert all(record["actor"] for record in told)


def test_a_new_key_signs_on_and_who_asked_for_it_is_told(site: Site) -> None:
    assert site.command("keys", "rotate").returncode == 0
    with site.daemon():
        assert site.command("keys", "rotate").returncode == 0
        site.hand_over("intent-c.json", intent("upf", 3))
        site.verdict("intent-c.json")
    told = site.asked("audit", "show", "--action", "security.key_rotated")
    assert len({record["resource"] for record in told}) == 2
    assert all(record["actor"] not in ("", "conductor-loop") for record in told)
    assert _faults(site, "--complete") == []


def test_ocsf_events_are_json_lines_that_the_published_schema_accepts(site: Site) -> None:
    lines = site.command("audit", "export", "--format", "ocsf").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert len(events) == len(_log(site).read_bytes().splitlines())
    assert {6002, 6003} <= {event["class_uid"] for event in events} <= {2004, 6002, 6003}
    assert [fault for event in events for fault in ocsf_faults(event)] == []


def test_without_a_log_the_command_says_what_to_do(tmp_path: Path) -> None:
    done = Site(tmp_path).command("audit", "show")
    assert done.returncode == 1
    assert "there is no audit log" in done.stderr


def test_a_journal_made_anew_is_a_gap_with_that_reason(site: Site) -> None:
    for path in site.state.glob("journal.db*"):
        path.unlink()
    assert site.command("state", "rebuild").returncode == 0
    site.hand_over("intent-c.json", intent("upf", 3))
    site.once(*site.flags)
    status, report = _verify(site, "--complete")
    assert (status, report["faults"]) == (0, [])
    assert any("restored" in note for note in report["notes"])
