"""docs/audit.md: its commands do what it says, and it names every action and every code."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conductor_loop.core.audit.records import CLAIMS, FINALS, REMOVED
from tests.system.daemon import Site, intent

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
SOURCE = Path(__file__).parents[2] / "src" / "conductor_loop"
ALONE = ("sh", "jq", "openssl", "cat", "head", "tail", "cut", "test", "tr", "base64", "sha256sum")
"""What the commands of the page need, so that nothing of ours can help."""


def commands_for(purpose: str) -> str:
    """The shell block of the page with this mark before it."""
    found = re.search(rf"<!-- {purpose} -->\n```sh\n(.*?)```\n", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.hand_over_all({"intent-a.json": intent("amf"), "intent-b.json": intent("smf")})
    assert made.once(*made.flags).returncode == 0
    pem = made.command("keys", "export", "--format", "pem").stdout
    (tmp_path / "key.pem").write_text(pem)
    return made


@pytest.fixture
def shell(site: Site, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in ALONE:
        found = shutil.which(command)
        assert found is not None
        (folder / command).symlink_to(found)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=tmp_path,
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
        )

    return run


Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.mark.needs("jq", "openssl")
@pytest.mark.parametrize("purpose", ["chained", "signed", "noted"])
def test_the_commands_prove_what_the_daemon_left(site: Site, shell: Shell, purpose: str) -> None:
    done = shell(commands_for(purpose))
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("jq", "openssl")
@pytest.mark.parametrize(
    ("purpose", "file", "old", "new"),
    [
        ("chained", "audit-000000000001.jsonl", "intent-a.json", "intent-c.json"),
        ("signed", "audit-000000000001.jsonl", '"action":"log.closed"', '"action":"log.opened"'),
        ("noted", "checkpoint", "conductor-loop/", "conductor-lop/"),
    ],
)
def test_the_commands_notice_a_forgery(
    site: Site, shell: Shell, purpose: str, file: str, old: str, new: str
) -> None:
    path = site.state / "audit" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert shell(commands_for(purpose)).returncode != 0


def test_the_command_itself_does_what_the_page_shows(site: Site) -> None:
    for line in commands_for("proved").splitlines():
        assert site.command(*line.split()[1:]).returncode == 0


def test_the_page_names_every_action_and_every_code() -> None:
    page = PAGE.read_text()
    sources = [
        (SOURCE / path).read_text()
        for folder in ("core/audit", "projections/audit")
        for path in (SOURCE / folder).glob("*.py")
    ]
    said = "\n".join(sources)
    actions = set(re.findall(r'"((?:log|intent|control|service)\.[a-z_]+)"', said))
    codes = set(re.findall(r'(?:Finding|Broken)\(\s*"([a-z_]+)"', said))
    assert actions > CLAIMS | FINALS
    assert codes > {"tail_cut", "claim_lost"}
    named = set(re.findall(r"`([a-z_.]+)`", page))
    assert actions | codes | {REMOVED} <= named | {"gap_malformed"}
