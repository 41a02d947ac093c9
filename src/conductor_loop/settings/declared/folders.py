"""Where everything is."""

# ruff: noqa: RUF009  setting() is dataclasses.field() with what is known of the setting

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conductor_loop.settings import readers
from conductor_loop.settings.declared.option import setting

_FOLDERS = "folders"


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where everything is."""

    handoff: Path = setting(
        readers.folder(),
        "./handoff",
        _FOLDERS,
        "folder to watch for intent-*.json; made if missing",
    )
    out: Path = setting(readers.folder(), "./out", _FOLDERS, "folder that packages go to")
    state_dir: Path = setting(
        readers.folder(),
        "./handoff/.conductor",
        _FOLDERS,
        "folder of the journal and the control socket; needs a local disk",
        shown_default="HANDOFF/.conductor",
    )
    schema: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _FOLDERS,
        "JSON schema that intents are checked against",
        shown_default="built in",
    )
    config: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _FOLDERS,
        "TOML file with settings",
        shown_default="none",
        in_file=False,
    )
    file_mode: int = setting(
        readers.mode(0o644),
        "0644",
        _FOLDERS,
        "permissions of verdicts, error logs and the files of packages",
    )
    dir_mode: int = setting(
        readers.mode(0o755),
        "0755",
        _FOLDERS,
        "permissions of folders that are made: HANDOFF and those in it, OUT and packages",
    )
