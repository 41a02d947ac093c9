"""The compliance report: evidence looked at now, signed, and safe to open."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from conductor_loop.core.compliance.controls import CONTROLS, Evidence, Result, judged
from conductor_loop.core.compliance.report import as_html, as_json, as_markdown, signed_report
from conductor_loop.core.control import decode_reply
from conductor_loop.core.protection import Protections, details_of, protections_in
from tests.system.daemon import Site, intent, wait_until


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site where one intent was published."""
    made = Site(tmp_path)
    made.flags = (*made.flags, "-porch", "builtin")
    made.handoff.mkdir()
    made.hand_over("intent-a.json", intent("web"))
    made.once()
    return made


def report_of(site: Site) -> dict[str, Any]:
    done = site.command("compliance", "report", "--format", "json")
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def result_of(report: dict[str, Any], number: str) -> str:
    (row,) = [row for row in report["controls"] if row["control"] == number]
    return str(row["result"])


def verify(site: Site, report: dict[str, Any]) -> int:
    file = site.top / "report.json"
    file.write_text(json.dumps(report))
    return site.command("verify", str(file)).returncode


def test_a_sound_site_fails_no_control(site: Site) -> None:
    failed = [row for row in report_of(site)["controls"] if row["result"] == "fail"]

    assert [row for row in failed if row["control"] not in ("5.2.7", "PR.AA-05")] == []


def test_the_report_proves_itself_and_an_altered_one_does_not(site: Site) -> None:
    report = report_of(site)
    altered = json.loads(json.dumps(report))
    altered["controls"][0]["result"] = "pass"

    assert (verify(site, report), verify(site, altered)) == (0, 8)


def test_a_report_is_no_verdict(site: Site) -> None:
    site.verdict_path("intent-a.json").write_text(json.dumps(report_of(site)))

    assert site.command("verify", "--all").returncode == 8


def test_an_edited_audit_log_fails_the_controls_about_it(site: Site) -> None:
    (log,) = (site.state / "audit").glob("*.jsonl")
    log.write_bytes(log.read_bytes().replace(b"intent-a.json", b"intent-b.json", 1))
    report = report_of(site)

    assert {result_of(report, n) for n in ("16.4.2", "PR.PS-04", "REQ-SEC-SLM-ATS-4")} == {"fail"}


def test_a_forged_verdict_fails_the_control_about_data_at_rest(site: Site) -> None:
    path = site.verdict_path("intent-a.json")
    path.write_bytes(path.read_bytes().replace(b'"success"', b'"failed"'))

    assert result_of(report_of(site), "PR.DS-01") == "fail"


def test_an_audit_file_that_others_can_read_fails(site: Site) -> None:
    (log,) = (site.state / "audit").glob("*.jsonl")
    log.chmod(0o644)

    assert result_of(report_of(site), "16.4.2") == "fail"


SWITCHES = ("SECURITY", "AUDIT", "ENCRYPTION")


def switched(site: Site, value: str | None) -> None:
    """Switch every protection in the environment of what is typed from now on; None: as usual."""
    for name in SWITCHES:
        variable = f"CONDUCTOR_{name}_ENABLED"
        site.environment.pop(variable, None)
        if value is not None:
            site.environment[variable] = value


def told_of(report: dict[str, Any], number: str) -> str:
    (row,) = [row for row in report["controls"] if row["control"] == number]
    return "; ".join(row["evidence"])


OF_SWITCHES = ("16.2.5", "16.3.3", "PR.PS-04", "PR.DS-01")


def test_a_running_daemon_with_all_switched_off_fails_whatever_the_shell_has(site: Site) -> None:
    switched(site, "false")
    with site.daemon() as daemon:
        switched(site, None)
        report = report_of(site)
        status = site.command("compliance", "report").returncode

    assert {number: result_of(report, number) for number in OF_SWITCHES} == dict.fromkeys(
        OF_SWITCHES, "fail"
    )
    assert f"says the daemon that runs, pid {daemon.pid}" in told_of(report, "16.2.5")
    assert "in clear (looked at)" in told_of(report, "PR.DS-01")
    assert status == 8


def test_what_the_shell_has_switched_off_says_nothing_of_a_running_daemon(site: Site) -> None:
    with site.daemon():
        switched(site, "false")
        report = report_of(site)

    assert {result_of(report, number) for number in OF_SWITCHES} == {"pass"}


def test_without_a_daemon_the_journal_tells_how_it_last_started(site: Site) -> None:
    site.environment["CONDUCTOR_SECURITY_ENABLED"] = "false"
    site.once()
    switched(site, None)
    report = report_of(site)

    assert (result_of(report, "16.2.5"), result_of(report, "PR.PS-04")) == ("fail", "pass")
    assert "says the journal of the last start" in told_of(report, "16.2.5")


def test_a_journal_in_clear_fails_although_encryption_is_on_here(site: Site) -> None:
    site.environment["CONDUCTOR_ENCRYPTION_ENABLED"] = "false"
    site.once()
    switched(site, None)

    assert result_of(report_of(site), "PR.DS-01") == "fail"


def test_what_neither_daemon_nor_journal_tells_is_for_a_person(site: Site) -> None:
    for file in site.state.glob("journal.db*"):
        file.unlink()
    report = report_of(site)

    asked = ("5.2.7", "15.2.5", "16.2.5", "16.3.3", "16.4.2", "PR.DS-01", "PR.DS-02", "PR.PS-04")
    assert {number: result_of(report, number) for number in asked} == dict.fromkeys(asked, "manual")


def test_an_unconfined_porch_and_a_plain_port_of_the_daemon_fail(open_site: Site) -> None:
    site = open_site
    site.handoff.mkdir(exist_ok=True)
    site.handoff.chmod(0o777)
    flags = ("-porch", site.porch("exit 0"), "-sandbox", "none", "-http", "127.0.0.1:0")
    with site.daemon(*flags):
        report = report_of(site)

    assert (result_of(report, "15.2.5"), result_of(report, "PR.DS-02")) == ("fail", "fail")
    assert "page http://127.0.0.1:" in told_of(report, "PR.DS-02")


def test_an_audit_log_whose_end_was_cut_fails_the_controls_about_it(site: Site) -> None:
    (log,) = (site.state / "audit").glob("*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2]))
    report = report_of(site)

    assert {result_of(report, n) for n in ("16.4.2", "PR.PS-04", "REQ-SEC-SLM-ATS-4")} == {"fail"}


def test_an_older_daemon_that_does_not_say_is_not_taken_for_a_protected_one() -> None:
    older = decode_reply(b'{"vitals":{},"pid":7}')

    assert older.protections is None
    assert protections_in({"uid": "1000", "version": "0.0.1"}) == Protections(uid=1000)


def test_what_a_start_journals_of_its_protections_is_read_back_as_it_was() -> None:
    for ports in ((), ("page https://[::1]:1", "probes http://[::]:2"), None):
        told = Protections(
            audit=True,
            encryption=False,
            security=True,
            uid=0,
            publisher="porch",
            sandbox="bwrap+no-network",
            confined="none",
            ports=ports,
        )

        assert protections_in(details_of(told)) == told


def test_the_exit_status_tells_that_something_fails(site: Site) -> None:
    site.environment["CONDUCTOR_ENCRYPTION_ENABLED"] = "false"
    site.once()

    assert site.command("compliance", "report").returncode == 8


def test_without_a_key_there_is_no_report(tmp_path: Path) -> None:
    done = Site(tmp_path).command("compliance", "report")

    assert done.returncode == 1
    assert "signing key" in done.stderr


class Tags(HTMLParser):
    """Collects the names of tags."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.add(tag)


def hostile_report() -> Any:
    told = "<script>alert(1)</script> | ```` \x1b[31m"
    found = {name: Evidence(Result.PASS, told) for control in CONTROLS for name in control.evidence}
    return signed_report(found, "2026-01-01T00:00:00Z", "1.0", "kid", lambda _: b"\0" * 64)


def test_nothing_that_was_found_becomes_markup() -> None:
    tags = Tags()
    tags.feed(as_html(hostile_report()))

    assert "script" not in tags.names
    assert "<script" not in as_markdown(hostile_report()).partition("## Signed")[0]


def test_no_form_says_certified_or_compliant() -> None:
    report = hostile_report()

    for text in (as_html(report), as_markdown(report), as_json(report)):
        assert "certif" not in text.lower()


def test_the_worst_evidence_decides() -> None:
    control = next(c for c in CONTROLS if len(c.evidence) == 2)
    found = {name: Evidence(Result.PASS, "") for name in control.evidence}

    assert judged(control, found) is Result.PASS
    found[control.evidence[1]] = Evidence(Result.FAIL, "")
    assert judged(control, found) is Result.FAIL


def test_no_control_stands_twice() -> None:
    numbers = [(control.catalogue, control.number) for control in CONTROLS]

    assert len(set(numbers)) == len(numbers)


def test_a_daemon_keeps_reports_in_its_state_dir(site: Site) -> None:
    folder = site.state / "compliance"
    with site.daemon("-compliance-interval", "100ms"):
        wait_until(lambda: folder.is_dir() and any(folder.glob("report-*.json")), "a report")

    report = next(folder.glob("report-*.json"))
    assert site.command("verify", str(report)).returncode == 0
    assert report.stat().st_mode & 0o777 == 0o600
