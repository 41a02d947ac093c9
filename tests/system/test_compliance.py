"""The compliance report: evidence looked at now, signed, and safe to open."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from conductor_loop.core.compliance.controls import CONTROLS, Evidence, Result, judged
from conductor_loop.core.compliance.report import as_html, as_json, as_markdown, signed_report
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


def test_what_is_switched_off_fails(site: Site) -> None:
    site.environment["CONDUCTOR_SECURITY_ENABLED"] = "false"

    assert result_of(report_of(site), "16.3.3") == "fail"


def test_the_exit_status_tells_that_something_fails(site: Site) -> None:
    site.environment["CONDUCTOR_ENCRYPTION_ENABLED"] = "false"

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
