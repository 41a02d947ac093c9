"""What a script gets that asked for JSON when a command cannot do what it was asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conductor_loop.cli.main import main
from tests.system.daemon import intent


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ("list", 1, "no_journal"),
        ("pause", 1, "no_journal"),
        ("why nope", 1, "no_journal"),
        ("config reload", 1, "no_daemon"),
        ("submit intent-a.json", 1, "no_handoff"),
        ("validate intent-a.json -schema none.json", 1, "schema_unreadable"),
        ("state import none.json", 2, "usage"),
        ("config check -timeout soon", 2, "usage"),
        ("nonsense", 2, "usage"),
        ("list -nonsense", 2, "usage"),
        ("cancel", 2, "usage"),
    ],
)
@pytest.mark.parametrize("flag", ["--json", "-json=true", "--json=1"])
def test_a_failure_has_its_code_on_standard_output_and_its_text_on_standard_error(
    words: str, status: int, code: str, flag: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "intent-a.json").write_bytes(intent())
    assert main([*words.split(), flag]) == status
    told = capfd.readouterr()
    error = json.loads(told.out)["error"]
    assert error["code"] == code
    assert told.err.startswith(f"ERROR: {error['message']}\nhint: {error['hint']}\n")


@pytest.mark.parametrize("flags", [[], ["--json=false"], ["-json=perhaps"]])
def test_without_json_standard_output_stays_empty(
    flags: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", *flags]) == (2 if "-json=perhaps" in flags else 1)
    assert capfd.readouterr().out == ""


def test_each_of_several_mistakes_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--json", "-timeout", "soon", "-workers", "0"]) == 2
    told = json.loads(capfd.readouterr().out)
    assert [one["code"] for one in told["mistakes"]] == ["usage", "usage"]
    assert told["error"] == told["mistakes"][0]


def test_a_file_that_cannot_be_read_has_its_place_among_those_that_were_judged(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "intent-a.json").write_bytes(intent())
    assert main(["validate", "--json", "intent-none.json", "intent-a.json"]) == 2
    none, good = json.loads(capfd.readouterr().out)
    assert (none["file"], none["valid"]) == ("intent-none.json", False)
    assert "No such file" in none["error"]["message"]
    assert (good["file"], good["valid"]) == ("intent-a.json", True)
