"""The settings themselves: each declared once, with its default, its kind and its meaning.

Flags, environment, file keys, help and the reference are all derived from these declarations.
"""

# ruff: noqa: RUF009  _setting() is dataclasses.field() with what is known of the setting

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from conductor_loop.core.addresses import Address
from conductor_loop.core.intent import HIGHEST_PRIORITY, LOWEST_PRIORITY
from conductor_loop.core.packages import Mode
from conductor_loop.core.rates import Rate
from conductor_loop.core.sandbox import Limits, NetworkChoice, SandboxChoice
from conductor_loop.settings import readers
from conductor_loop.settings.readers import Reader

T = TypeVar("T")

MOST_WORKERS = 256
MOST_ATTEMPTS = 100
MOST_BURST = 1_000_000
# A file is held whole in memory and in one row of the journal; SQLite takes 10^9 bytes at most.
MOST_BYTES = 256 << 20
MOST_MEMORY = 1 << 50
# Several threads may use so many times the deadline before it ends them.
_CPU_TIMEOUTS = 4
LEAST_AUDIT_FILE, MOST_AUDIT_FILE = 4 << 10, 1 << 30
# A shorter period would keep a core busy with nothing but listing the folder.
SHORTEST_PERIOD = timedelta(milliseconds=10)
MOST_BACKUPS = 100_000
# Random nonces of 96 bits: NIST SP 800-38D, 8.3.
MOST_KEY_USES = 1 << 32
SHORTEST_TIMEOUT = timedelta(milliseconds=1)


class LogLevel(StrEnum):
    """The least severe line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one setting apart from its value."""

    name: str
    """The flag without its dash, and the key in the file."""
    reader: Reader[Any]
    default: str
    """As one would write it."""
    purpose: str
    group: str
    has_flag: bool = True
    in_file: bool = True
    shown_default: str = ""

    @property
    def attribute(self) -> str:
        """The name of the field in `Settings`."""
        return self.name.replace("-", "_").replace(".", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "CONDUCTOR_" + self.attribute.upper()


def _setting(reader: Reader[T], default: str, group: str, purpose: str, **more: Any) -> T:
    metadata = {"reader": reader, "default": default, "group": group, "purpose": purpose, **more}
    return field(default_factory=lambda: reader.read(default), metadata=metadata)


_OFF = ("0", "off", "")
_FOLDERS, _PORCH, _RUNNING, _INTAKE = "folders", "porch", "running", "intake"
_ATTEMPTS, _ORDER, _KEEPING, _LOGS = "attempts", "waiting", "housekeeping", "logs"
_STORED, _BACKUP, _AUDITED = "encryption", "backup", "audit log"
_TRUST = "trust"
_HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, checked. Durations are `timedelta`, sizes are bytes."""

    handoff: Path = _setting(
        readers.folder(),
        "./handoff",
        _FOLDERS,
        "folder to watch for intent-*.json; made if missing",
    )
    porch: str = _setting(
        readers.text("COMMAND"),
        "porch",
        _PORCH,
        "command to run for each intent: a path, a name on PATH, or builtin",
    )
    mode: Mode = _setting(
        readers.choice(Mode), "direct", _PORCH, "direct: a patch; structured: a kpt package"
    )
    out: Path = _setting(readers.folder(), "./out", _FOLDERS, "folder that packages go to")
    once: bool = _setting(
        readers.switch(), "false", _RUNNING, "finish what is there now, retries included, then exit"
    )
    debounce: timedelta = _setting(
        readers.duration(),
        "500ms",
        _RUNNING,
        "a file written in place is complete after this much quiet",
    )
    period: timedelta = _setting(
        readers.duration(SHORTEST_PERIOD), "2s", _RUNNING, "time between two scans of the folder"
    )
    workers: int | Literal["auto"] = _setting(
        readers.number_or_auto(1, MOST_WORKERS),
        "2",
        _RUNNING,
        "attempts at a time; auto: what the cgroup's CPU quota allows",
    )
    timeout: timedelta = _setting(
        readers.duration(SHORTEST_TIMEOUT), "30s", _ATTEMPTS, "deadline of one attempt"
    )
    grace: timedelta = _setting(
        readers.duration(),
        "10s",
        _ATTEMPTS,
        "what a child gets between SIGTERM and SIGKILL, and what runs gets at shutdown",
    )
    max_attempts: int = _setting(
        readers.number(1, MOST_ATTEMPTS), "3", _ATTEMPTS, "attempts before an intent is failed"
    )
    retry_backoff: timedelta = _setting(
        readers.duration(), "1s", _ATTEMPTS, "first pause before a retry; doubles, with jitter"
    )
    max_wait: timedelta | None = _setting(
        readers.unless(_OFF, readers.duration()),
        "0",
        _ORDER,
        "an intent that waited longer is skipped as expired; 0 = no limit",
        shown_default="off",
    )
    supersede: bool = _setting(
        readers.switch(),
        "false",
        _ORDER,
        "run only the newest waiting intent of a target; the others are skipped",
    )
    retention: timedelta = _setting(
        readers.duration(),
        "168h",
        _KEEPING,
        "age at which processed intents are removed; 0 = never",
    )
    failed_retention: timedelta = _setting(
        readers.duration(), "168h", _KEEPING, "age at which failed intents are removed; 0 = never"
    )
    cleanup_interval: timedelta = _setting(
        readers.duration(), "24h", _KEEPING, "time between two clean-ups; 0 = never"
    )
    compliance_interval: timedelta = _setting(
        readers.duration(),
        "0",
        _KEEPING,
        "time between two signed reports in STATE-DIR/compliance, of which 100 stay; 0 = never",
    )
    integrity_interval: timedelta = _setting(
        readers.duration(),
        "24h",
        _KEEPING,
        "time between two looks at whether verdicts, files and packages are as signed; 0 = never",
    )
    state_dir: Path = _setting(
        readers.folder(),
        "./handoff/.conductor",
        _FOLDERS,
        "folder of the journal and the control socket; needs a local disk",
        shown_default="HANDOFF/.conductor",
    )
    encryption_enabled: bool = _setting(
        readers.switch(),
        "true",
        _STORED,
        "seal in the journal whatever tells of an intent; switched at the next start",
    )
    kek_file: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _STORED,
        "file with the key that wraps the journal's keys: 64 hex digits a line",
        shown_default="STATE-DIR/keys/journal.kek, made on first run",
    )
    data_key_age: timedelta = _setting(
        readers.duration(),
        "720h",
        _STORED,
        "a new key seals what comes later after this long; 0 = never",
    )
    data_key_uses: int = _setting(
        readers.number(1, MOST_KEY_USES),
        "1000000000",
        _STORED,
        "or after it has sealed this many values",
    )
    audit_enabled: bool = _setting(
        readers.switch(),
        "true",
        _AUDITED,
        "keep the signed audit log; false is journalled, said at start and shown by doctor",
    )
    audit_file_size: int = _setting(
        readers.size(LEAST_AUDIT_FILE, MOST_AUDIT_FILE),
        "32MiB",
        _AUDITED,
        "a file of the audit log is followed by a new one at this size",
    )
    audit_file_age: timedelta = _setting(
        readers.duration(),
        "168h",
        _AUDITED,
        "or at this age; 0 = never",
    )
    audit_retention: timedelta = _setting(
        readers.duration(),
        "9600h",
        _AUDITED,
        "age at which whole files of the audit log are removed (400 days); 0 = never",
    )
    backup_interval: timedelta = _setting(
        readers.duration(), "0", _BACKUP, "time between two backups of the journal; 0 = none"
    )
    backup_dir: Path | None = _setting(
        readers.unless(("",), readers.folder()),
        "",
        _BACKUP,
        "folder that scheduled backups go to; best on another machine's disk",
        shown_default="none",
    )
    backup_keep: int = _setting(
        readers.number(1, MOST_BACKUPS), "14", _BACKUP, "scheduled backups that are kept"
    )
    backup_recipients: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _BACKUP,
        "file with the age recipients of backups, one a line",
        shown_default="none",
    )
    schema: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _FOLDERS,
        "JSON schema that intents are checked against",
        shown_default="built in",
    )
    config: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _FOLDERS,
        "TOML file with settings",
        shown_default="none",
        in_file=False,
    )
    file_mode: int = _setting(
        readers.mode(0o644),
        "0644",
        _FOLDERS,
        "permissions of verdicts, error logs and the files of packages",
    )
    dir_mode: int = _setting(
        readers.mode(0o755),
        "0755",
        _FOLDERS,
        "permissions of folders that are made: HANDOFF and those in it, OUT and packages",
    )
    key_file: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _TRUST,
        "PEM file (PKCS #8, Ed25519) with the key that signs, e.g. a mounted Secret",
        shown_default="a key made in the state dir",
    )
    max_file_size: int = _setting(
        readers.size(1, MOST_BYTES),
        "10MiB",
        _INTAKE,
        "a larger file is rejected without being read",
    )
    max_priority: int = _setting(
        readers.number(LOWEST_PRIORITY, HIGHEST_PRIORITY),
        str(HIGHEST_PRIORITY),
        _INTAKE,
        "an intent that asks for a higher priority gets this one",
    )
    allow_system_namespaces: bool = _setting(
        readers.switch(),
        "false",
        _INTAKE,
        "accept intents for kube-system, kube-public and kube-node-lease",
    )
    allow_namespaces: tuple[str, ...] = _setting(
        readers.namespaces(),
        "",
        _INTAKE,
        "accept intents for these namespaces only: names, or beginnings with * behind them",
        shown_default="all",
    )
    deny_namespaces: tuple[str, ...] = _setting(
        readers.namespaces(),
        "",
        _INTAKE,
        "reject intents for these namespaces, also for allowed ones",
        shown_default="none",
    )
    intake_rate: Rate | None = _setting(
        readers.unless(_OFF, readers.rate()),
        "0",
        _INTAKE,
        "files taken in a time, e.g. 50/s; what is over it waits in the folder",
        shown_default="off",
    )
    owner_rate: Rate | None = _setting(
        readers.unless(_OFF, readers.rate()),
        "0",
        _INTAKE,
        "files of one owner taken in a time; others go on meanwhile",
        shown_default="off",
    )
    namespace_rate: Rate | None = _setting(
        readers.unless(_OFF, readers.rate()),
        "0",
        _INTAKE,
        "intents of one namespace begun in a time; what is over it waits, in order",
        shown_default="off",
    )
    intake_burst: int = _setting(
        readers.number(1, MOST_BURST),
        "100",
        _INTAKE,
        "how many may come at once, after a rest, under each of these rates",
    )
    child_env: tuple[str, ...] = _setting(
        readers.names(),
        "",
        _PORCH,
        "environment variables that porch gets besides a clean minimum",
        name="child.env",
        has_flag=False,
        shown_default="none",
    )
    child_read: tuple[Path, ...] = _setting(
        readers.folders(),
        "",
        _PORCH,
        "paths that porch may read and run besides the system's and its own",
        name="child.read",
        has_flag=False,
        shown_default="none",
    )
    child_write: tuple[Path, ...] = _setting(
        readers.folders(),
        "",
        _PORCH,
        "paths that porch may change besides OUT and its temporary folder",
        name="child.write",
        has_flag=False,
        shown_default="none",
    )
    child_memory: int = _setting(
        readers.size(0, MOST_MEMORY),
        "4GiB",
        _PORCH,
        "data that one process of porch may hold in memory; 0 = no limit",
        name="child.memory",
        has_flag=False,
    )
    child_cpu: timedelta | None = _setting(
        readers.unless(("auto", ""), readers.duration()),
        "auto",
        _PORCH,
        "CPU time that one process of porch may use; 0 = no limit; auto: four times -timeout",
        name="child.cpu",
        has_flag=False,
    )
    child_files: int = _setting(
        readers.number(0, 1 << 20),
        "4096",
        _PORCH,
        "open files of one process of porch, 16 + 4 for each worker at least; 0 = no limit",
        name="child.files",
        has_flag=False,
    )
    child_file_size: int = _setting(
        readers.size(0, MOST_MEMORY),
        "1GiB",
        _PORCH,
        "largest file that porch may write; 0 = no limit",
        name="child.file-size",
        has_flag=False,
    )
    child_processes: int = _setting(
        readers.number(0, 1 << 20),
        "1024",
        _PORCH,
        "processes and threads porch's user may have more than at the start; 0 = no limit",
        name="child.processes",
        has_flag=False,
    )
    porch_sha256: str | None = _setting(
        readers.unless(("",), readers.sha256()),
        "",
        _PORCH,
        "what the porch command must hash to, else nothing starts",
        shown_default="whatever is there at start",
    )
    sandbox: SandboxChoice = _setting(
        readers.choice(SandboxChoice),
        "auto",
        _PORCH,
        "how porch is confined; auto: as well as can be had here, the others are demands",
    )
    sandbox_net: NetworkChoice = _setting(
        readers.choice(NetworkChoice), "host", _PORCH, "network that porch may use"
    )
    run_as: str | None = _setting(
        readers.unless(("",), readers.text("USER[:GROUP]")),
        "",
        _RUNNING,
        "who to become when started as root, which never runs this",
        shown_default="the handoff folder's owner, else 65532",
    )
    chroot_enabled: bool = _setting(
        readers.switch(),
        "false",
        _PORCH,
        "demand the jail, as -sandbox bwrap does",
        has_flag=False,
    )
    security_enabled: bool = _setting(
        readers.switch(),
        "true",
        _RUNNING,
        "false turns off the sandbox, anomaly detection and the scrubbing of what porch prints;"
        " never parsing, path safety or never-root",
        has_flag=False,
    )
    log_level: LogLevel = _setting(
        readers.choice(LogLevel), "info", _LOGS, "least severe line that is written"
    )
    log_format: LogFormat | None = _setting(
        readers.unless(("auto", ""), readers.choice(LogFormat)),
        "auto",
        _LOGS,
        "form of a log line",
        shown_default="text on a terminal, else json",
    )
    log_file: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _LOGS,
        "where the log goes; opened anew when it was rotated",
        shown_default="stderr",
    )
    http: Address | None = _setting(
        readers.unless(_OFF, readers.address()),
        "off",
        _HTTP,
        "serve probes, metrics and the live page here; elsewhere than on this machine only with "
        "TLS and a token or client certificates",
    )
    http_token_file: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _HTTP,
        "file with the token that -http asks for, one a line; read anew when it changes",
        shown_default="none",
    )
    http_cert: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _HTTP,
        "certificate chain (PEM) of -http, which then speaks TLS 1.3; read anew when it changes",
        shown_default="none",
    )
    http_key: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _HTTP,
        "private key (PEM) of that certificate",
        shown_default="none",
    )
    http_client_ca: Path | None = _setting(
        readers.unless(("",), readers.file()),
        "",
        _HTTP,
        "certificates (PEM) that must have signed a client's own",
        shown_default="none",
    )
    http_hosts: tuple[str, ...] = _setting(
        readers.hosts(),
        "",
        _HTTP,
        "names under which -http may be asked, besides addresses and localhost",
        shown_default="the host of -http",
    )
    http_rate: Rate | None = _setting(
        readers.unless(_OFF, readers.rate()),
        "100/m",
        _HTTP,
        "requests of one client in a time; probes do not count",
    )
    insecure: bool = _setting(
        readers.switch(),
        "false",
        _HTTP,
        "let -http serve other machines without TLS or without asking who they are",
    )
    kubernetes: bool = _setting(
        readers.switch(),
        "false",
        _HTTP,
        "serve the probes, and on another port metrics too, to everybody; they name no intent",
    )
    probe_port: int = _setting(
        readers.number(0, 65535), "8080", _HTTP, "port of the probes with -kubernetes"
    )
    metrics_port: int = _setting(
        readers.number(0, 65535), "9090", _HTTP, "port of metrics and probes with -kubernetes"
    )
    disk_floor: int = _setting(
        readers.size(0, MOST_MEMORY),
        "64MiB",
        _HTTP,
        "not ready when a disk has less room than this; 0 = never",
    )
    warnings: tuple[str, ...] = ()
    """What the operator should know about how these settings came to be."""

    def digest(self) -> str:
        """SHA-256, in hex, of the settings in effect: `config_sha256` of a verdict.

        The bytes are JSON with sorted keys: the name of each setting and its value as a flag
        would have it. Where a value came from makes no difference, so `config` is left out.
        """
        import hashlib
        import json

        shown = {
            option.name: option.reader.show(getattr(self, option.attribute))
            for option in OPTIONS.values()
            if option.name != "config"
        }
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()

    def sandbox_choice(self) -> SandboxChoice:
        """The layer asked for, the switches of the original taken into account."""
        if not self.security_enabled:
            return SandboxChoice.NONE
        return SandboxChoice.BWRAP if self.chroot_enabled else self.sandbox

    def child_limits(self) -> Limits:
        """What one process of porch may use, `auto` resolved."""
        cpu = _CPU_TIMEOUTS * self.timeout if self.child_cpu is None else self.child_cpu
        return Limits(
            memory=self.child_memory,
            cpu=cpu,
            open_files=self.child_files,
            file_size=self.child_file_size,
            processes=self.child_processes,
        )

    def worker_count(self) -> int:
        """How many attempts may run at a time, `auto` resolved on this machine."""
        if self.workers != "auto":
            return self.workers
        from conductor_loop.adapters.cpu_quota import allowed_cpus

        return min(allowed_cpus(), MOST_WORKERS)


def _declared() -> Iterator[Option]:
    for declared in fields(Settings):
        if declared.default_factory is not MISSING:
            name = declared.name.replace("_", "-")
            yield Option(**{"name": name, **declared.metadata})


OPTIONS: dict[str, Option] = {option.name: option for option in _declared()}
