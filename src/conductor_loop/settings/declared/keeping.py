"""What proves, seals and saves: keys, the audit log, encryption, backups."""

# ruff: noqa: RUF009  setting() is dataclasses.field() with what is known of the setting

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from conductor_loop.settings import readers
from conductor_loop.settings.declared.option import setting

LEAST_AUDIT_FILE, MOST_AUDIT_FILE = 4 << 10, 1 << 30
MOST_BACKUPS = 100_000
# Random nonces of 96 bits: NIST SP 800-38D, 8.3.
MOST_KEY_USES = 1 << 32
_STORED = "encryption"
_AUDITED = "audit log"
_BACKUP = "backup"
_TRUST = "trust"


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What proves, seals and saves: keys, the audit log, encryption, backups."""

    encryption_enabled: bool = setting(
        readers.switch(),
        "true",
        _STORED,
        "seal in the journal whatever tells of an intent; switched at the next start",
    )
    kek_file: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _STORED,
        "file with the key that wraps the journal's keys: 64 hex digits a line",
        shown_default="STATE-DIR/keys/journal.kek, made on first run",
    )
    data_key_age: timedelta = setting(
        readers.duration(),
        "720h",
        _STORED,
        "a new key seals what comes later after this long; 0 = never",
    )
    data_key_uses: int = setting(
        readers.number(1, MOST_KEY_USES),
        "1000000000",
        _STORED,
        "or after it has sealed this many values",
    )
    audit_enabled: bool = setting(
        readers.switch(),
        "true",
        _AUDITED,
        "keep the signed audit log; false is journalled, said at start and shown by doctor",
    )
    audit_file_size: int = setting(
        readers.size(LEAST_AUDIT_FILE, MOST_AUDIT_FILE),
        "32MiB",
        _AUDITED,
        "a file of the audit log is followed by a new one at this size",
    )
    audit_file_age: timedelta = setting(
        readers.duration(),
        "168h",
        _AUDITED,
        "or at this age; 0 = never",
    )
    audit_retention: timedelta = setting(
        readers.duration(),
        "9600h",
        _AUDITED,
        "age at which whole files of the audit log are removed (400 days); 0 = never",
    )
    backup_interval: timedelta = setting(
        readers.duration(),
        "0",
        _BACKUP,
        "time between two backups of journal and audit log; 0 = none",
    )
    backup_dir: Path | None = setting(
        readers.unless(("",), readers.folder()),
        "",
        _BACKUP,
        "folder that scheduled backups go to; best on another machine's disk",
        shown_default="none",
    )
    backup_keep: int = setting(
        readers.number(1, MOST_BACKUPS), "14", _BACKUP, "scheduled backups that are kept"
    )
    backup_recipients: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _BACKUP,
        "file with the age recipients of backups, one a line",
        shown_default="none",
    )
    key_file: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _TRUST,
        "PEM file (PKCS #8, Ed25519) with the key that signs, e.g. a mounted Secret",
        shown_default="a key made in the state dir",
    )
