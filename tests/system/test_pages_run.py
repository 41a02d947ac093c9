"""Pages that are followed, command by command, by a newcomer: it comes out as they show it."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyrage  # type: ignore[import-untyped] # its stubs are a package of their own
import pytest
import yaml

from tests.pages import Reader, contains, differs, steps
from tests.system.daemon import intent

DOCS = Path(__file__).parents[2] / "docs"
FOLLOWED = (
    "tutorial.md",
    "gitops.md",
    "investigate.md",
    "how-an-intent-travels.md",
    "ci.md",
    "migrate-original.md",
    "migrate-porch.md",
    "tenants.md",
    "troubleshooting.md",
    "upgrade.md",
)


def left_by_the_original(folder: Path) -> None:
    """What a page on coming from the original begins with: its folders, state and samples."""
    for name in ("handoff/processed", "handoff/failed", "handoff/status", "samples"):
        (folder / name).mkdir(parents=True)
    (folder / "samples/intent-old.json").write_bytes(intent("amf", 2))
    (folder / "samples/intent-new.json").write_bytes(intent("smf", 4))
    entries = [
        {
            "file_path": f"/data/handoff/intent-{name}.json",
            "sha256": hashlib.sha256(intent("amf", 2)).hexdigest(),
            "size": len(intent("amf", 2)),
            "processed_at": "2025-01-17T10:00:00.123456789+08:00",
            "status": status,
        }
        for name, status in (("old", "processed"), ("bad", "failed"))
    ]
    state = {"version": "1.0", "saved_at": "2025-01-17T02:00:00Z"}
    states = {str(entry["file_path"]): entry for entry in entries}
    (folder / "handoff/.conductor-state.json").write_text(json.dumps({**state, "states": states}))


def with_recipients(folder: Path) -> None:
    """What a page that makes backups begins with: an age key pair."""
    made = pyrage.x25519.Identity.generate()
    (folder / "identity.txt").write_text(f"{made}\n")
    (folder / "recipients.txt").write_text(f"{made.to_public()}\n")


PREPARED: dict[str, Callable[[Path], None]] = {
    "migrate-original.md": left_by_the_original,
    "upgrade.md": with_recipients,
}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    one = Reader(tmp_path)
    yield one
    one.leave()


@pytest.mark.needs("git", "jq")
@pytest.mark.parametrize("name", FOLLOWED)
def test_the_commands_of_a_page_do_what_it_shows(name: str, reader: Reader, tmp_path: Path) -> None:
    if name in PREPARED:
        PREPARED[name](tmp_path)
    assert reader.follow(DOCS / name) >= 3
    lacking = {step.lacks for step in steps(DOCS / name)} - {""}
    if lacking:
        pytest.skip(f"what needs {', '.join(lacking)} was left out")


@pytest.mark.needs("git")
def test_the_overlay_of_the_page_names_a_component_that_fits(
    reader: Reader, tmp_path: Path
) -> None:
    """What can be told of it without kubectl."""
    reader.follow(DOCS / "gitops.md")
    app = tmp_path / "fleet/apps/cnf-simulator"
    overlay = yaml.safe_load((app / "kustomization.yaml").read_text())
    workload = yaml.safe_load((app / overlay["resources"][0]).read_text())
    component = yaml.safe_load((app / overlay["components"][0] / "kustomization.yaml").read_text())
    assert component["kind"] == "Component"
    assert component["replicas"] == [{"name": workload["metadata"]["name"], "count": 5}]


@pytest.mark.needs("curl", "jq", "openssl")
def test_the_page_on_monitoring_does_what_it_shows(reader: Reader, tmp_path: Path) -> None:
    """On other ports than the page's, which may be taken here."""
    text = (DOCS / "monitoring.md").read_text()
    own, probes, metrics = free_ports(3)
    for shown, here in (
        (":8443", f":{own}"),
        ("localhost:8080", f"localhost:{probes}"),
        ("localhost:9090", f"localhost:{metrics}"),
        ("-kubernetes\n", f"-kubernetes -probe-port {probes} -metrics-port {metrics}\n"),
    ):
        assert shown in text
        text = text.replace(shown, here)
    page = tmp_path / "monitoring.md"
    page.write_text(text)
    assert reader.follow(page) == 7


def free_ports(count: int) -> list[int]:
    """Ports that nobody had a moment ago."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


KNOWN_OTHERWISE = {"20"}
"""What the original takes, by its own README."""
MEASURED = ("performance.md", "reliability.md", "backup.md")


@pytest.mark.parametrize("name", ["sizing.md", "when-not.md", "troubleshooting.md"])
def test_no_figure_is_claimed_that_was_not_measured(name: str) -> None:
    measured = " ".join((DOCS / page).read_text() for page in MEASURED)
    measured = re.sub(r"[ /]+", " ", measured)
    page = (DOCS / name).read_text()
    rows = re.findall(r"(?m)^\| .* \|$", page)
    found = {number for row in rows for number in re.findall(r"(?<![\w-])\d[\d,.]*\d", row)}
    assert rows
    assert {number for number in found if number not in measured} <= KNOWN_OTHERWISE


def test_whoever_leaves_a_command_out_of_the_tests_says_why() -> None:
    left_out = [step for page in DOCS.rglob("*.md") for step in steps(page) if not step.is_run]
    assert left_out
    for step in left_out:
        assert len(step.mark.removeprefix("not run: ")) > 10, step


def test_another_output_than_shown_is_noticed() -> None:
    assert differs("2 good, 0 not", "1 good, 1 not")
    assert differs("first\n...\nlast", "first\nmiddle\nother")
    assert not differs("first\n...\nlast", "first\nmiddle\nlast")
    assert not differs("2026-03-02T09:15:04Z in 1ms", "2027-01-01T00:00:00.123Z in 2.5s")
    assert contains("before\nfirst\nmiddle\nlast\nafter", "first\n...\nlast")
    assert not contains("last\nfirst", "first\n...\nlast")
