"""Alerts, dashboard, runbooks, scrape configuration and log collection, held to the real thing."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage  # type: ignore[import-untyped]  # has no types
import pytest
import yaml

from tests.prometheus import Prometheus, scraping
from tests.system.daemon import Site, intent, wait_until
from tests.system.test_http import port_of, serving

TOP = Path(__file__).parents[2]
CONFIG = TOP / "deployments/prometheus"
RULES_FILE = CONFIG / "conductor-loop.rules.yaml"
GROUPS = yaml.safe_load(RULES_FILE.read_text())["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
DASHBOARD = json.loads((TOP / "deployments/grafana/conductor-loop.json").read_text())
PANELS = DASHBOARD["panels"]
RUNBOOKS = TOP / "docs/runbooks"
REPOSITORY = "https://repository.example.org/"
"""Stands in the rules for where the repository can be read (docs/kubernetes.md, "Look")."""
# Only with TLS, and only with scheduled backups: tests of their own.
CONDITIONAL = {
    "conductor_certificate_expires_timestamp_seconds",
    "conductor_last_backup_timestamp_seconds",
}
# The original's README, "Log Aggregation", "Monitoring Integration".
SEED_FLUENTD = {
    "@type": "tail",
    "path": "/var/log/conductor-loop.log",
    "pos_file": "/var/log/fluentd-conductor-loop.log.pos",
    "tag": "conductor-loop",
    "format": "json",
}
SEED_SCRAPE = {
    "job_name": "conductor-loop",
    "static_configs": [{"targets": ["conductor-loop:9090"]}],
}


def queries() -> list[str]:
    """Every query of rules and dashboard, the dashboard's variables filled in."""
    of_panels = [target["expr"] for panel in PANELS for target in panel["targets"]]
    of_rules = [rule["expr"] for rule in RULES.values()]
    return [*of_rules, *(query.replace("$instance", ".*") for query in of_panels)]


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\b(?:conductor|process)_[a-z_]+", query))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has scraped a daemon before and after it processed something."""
    if subprocess.run(["which", "prometheus"], capture_output=True).returncode:
        pytest.skip("prometheus is not installed")
    site = Site(tmp_path_factory.mktemp("watched"))
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    config["rule_files"] = [str(RULES_FILE)]
    flags = ("-kubernetes", "-probe-port", "0", "-metrics-port", "0")
    with (
        site.daemon(*flags) as daemon,
        scraping(folder, config, port_of(daemon, "metrics")) as running,
    ):
        running.wait_for('up{job="conductor-loop"} == 1')
        site.hand_over_all({"intent-a.json": intent(), "intent-b.json": b"{}"})
        running.wait_for("conductor_files_processed_total == 1")
        running.wait_for("conductor_files_failed_total == 1")
        running.wait_for("rate(conductor_files_processed_total[5m]) > 0")
        yield running


@pytest.mark.needs("promtool")
def test_each_alert_comes_when_it_must_and_none_on_a_quiet_day() -> None:
    tests = CONFIG / "conductor-loop.rules.test.yaml"
    done = subprocess.run(["promtool", "test", "rules", tests], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_in_which_it_comes() -> None:
    tests = yaml.safe_load((CONFIG / "conductor-loop.rules.test.yaml").read_text())["tests"]
    come = {c["alertname"] for t in tests for c in t["alert_rule_test"] if c["exp_alerts"]}
    assert come == set(RULES)


def test_who_is_woken_and_who_finds_a_ticket() -> None:
    severities = {name: rule["labels"]["severity"] for name, rule in RULES.items()}
    assert severities == {
        "ConductorOldestIntentTooOld": "page",
        "ConductorPaused": "page",
        "ConductorAbsent": "page",
        "ConductorStuck": "page",
        "ConductorNotReady": "page",
        "ConductorAuditBroken": "page",
        "ConductorFailureRatioHigh": "ticket",
        "ConductorBackupOld": "ticket",
        "ConductorCertificateExpires": "ticket",
        "ConductorDiskFills": "ticket",
    }


@pytest.mark.parametrize("name", RULES)
def test_each_alert_has_a_runbook_with_a_first_command(name: str) -> None:
    url = RULES[name]["annotations"]["runbook_url"]
    assert url.startswith(f"{REPOSITORY}docs/runbooks/")
    page = (TOP / url.removeprefix(REPOSITORY)).read_text()
    assert page.startswith(f"# {name} ({RULES[name]['labels']['severity']})\n")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert headings == ["Meaning", "First command", "Safe stop", "Escalation"]


def test_there_is_no_runbook_without_an_alert() -> None:
    named = {Path(rule["annotations"]["runbook_url"]).name for rule in RULES.values()}
    assert {path.name for path in RUNBOOKS.iterdir()} == named


def test_the_rules_for_the_operator_are_the_same() -> None:
    manifest = TOP / "deployments/k8s/conductor-loop/components/monitoring/prometheusrule.yaml"
    assert yaml.safe_load(manifest.read_text())["spec"] == {"groups": GROUPS}


def test_the_scrape_configuration_is_the_original_s() -> None:
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    assert config["scrape_configs"] == [SEED_SCRAPE]


@pytest.mark.parametrize("query", queries())
def test_a_real_prometheus_takes_each_query(prometheus: Prometheus, query: str) -> None:
    prometheus.result(query)


@pytest.mark.parametrize("name", sorted(set().union(*map(names_in, queries())) - CONDITIONAL))
def test_each_metric_that_is_asked_for_is_there(prometheus: Prometheus, name: str) -> None:
    prometheus.wait_for(f'{{__name__="{name}", job="conductor-loop"}}')


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_shows_something(prometheus: Prometheus, panel: dict[str, object]) -> None:
    assert isinstance(panel["targets"], list)
    for target in panel["targets"]:
        prometheus.wait_for(target["expr"].replace("$instance", ".*"))


def rules_of(prometheus: Prometheus) -> list[Any]:
    return [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]


def test_no_alert_comes_of_a_daemon_that_works(prometheus: Prometheus) -> None:
    wait_until(
        lambda: all(rule["lastEvaluation"] > "2000" for rule in rules_of(prometheus)),
        "the rules were evaluated",
    )
    # What is absent before the first scrape is pending for a moment.
    wait_until(lambda: not any(rule["alerts"] for rule in rules_of(prometheus)), "none is pending")
    rules = rules_of(prometheus)
    assert {rule["name"] for rule in rules} == set(RULES)
    assert {rule["health"] for rule in rules} == {"ok"}


def test_the_log_is_what_the_original_s_fluentd_snippet_tails(tmp_path: Path) -> None:
    site = Site(tmp_path)
    log = tmp_path / Path(SEED_FLUENTD["path"]).name
    with site.daemon("-log-file", str(log), "-log-format", SEED_FLUENTD["format"]):
        site.hand_over(b"intent-\x1b[31m\n\xff.json", intent())
        site.hand_over("intent-b.json", b"no json\n")
        site.wait_for_final(2)
    raw = log.read_bytes()
    assert raw.endswith(b"\n")
    # `tail` hands over line by line; `format json` wants one object in each.
    lines = [json.loads(line) for line in raw.split(b"\n")[:-1]]
    assert len(lines) > 3
    assert all(isinstance(line, dict) and {"@timestamp", "message"} <= set(line) for line in lines)


def test_a_rotated_log_goes_on_under_its_name(tmp_path: Path) -> None:
    site = Site(tmp_path)
    log = tmp_path / "conductor-loop.log"
    with site.daemon("-log-file", str(log), "-log-format", "json"):
        log.rename(tmp_path / "conductor-loop.log.1")
        site.hand_over_all({"intent-a.json": intent()})
        wait_until(lambda: log.exists() and b"intent-a.json" in log.read_bytes(), "it goes on")
    assert all(json.loads(line) for line in log.read_text().splitlines())


def test_the_age_of_scheduled_backups_is_told_and_their_absence_too(tmp_path: Path) -> None:
    recipients = tmp_path / "recipients"
    recipients.write_text(f"{pyrage.x25519.Identity.generate().to_public()}\n")
    site = Site(tmp_path)
    schedule = (
        *("-backup-interval", "1h", "-backup-recipients", str(recipients)),
        *("-backup-dir", str(tmp_path / "backups")),
    )
    name = "conductor_last_backup_timestamp_seconds"
    with serving(site, *schedule) as server:
        wait_until(lambda: server.metric(name) > 0, "the first one is told")
        (made,) = (tmp_path / "backups").iterdir()
        made.unlink()
        wait_until(lambda: server.metric(name) == 0, "that there is none is told")
    with serving(site) as server:
        assert name not in server.get("/metrics").body.decode()
