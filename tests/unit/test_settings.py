"""Settings: where they come from, which wins, and how every mistake is told at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from conductor_loop.core.addresses import Address
from conductor_loop.core.faults import UsageError
from conductor_loop.core.packages import Mode
from conductor_loop.core.rates import Rate
from conductor_loop.core.sandbox import NetworkChoice, SandboxChoice
from conductor_loop.settings import (
    LogFormat,
    LogLevel,
    Settings,
    SettingsMistaken,
    load_settings,
)
from conductor_loop.settings.model import OPTIONS
from conductor_loop.settings.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference-settings.md"

# Setting, a value as a flag or variable has it, the same in TOML, and what it becomes.
VALUES: list[tuple[str, str, str, object]] = [
    ("handoff", "/data/in", '"/data/in"', Path("/data/in")),
    ("porch", "builtin", '"builtin"', "builtin"),
    ("mode", "structured", '"structured"', Mode.STRUCTURED),
    ("out", "/data/out", '"/data/out"', Path("/data/out")),
    ("once", "true", "true", True),
    ("debounce", "200ms", '"200ms"', timedelta(milliseconds=200)),
    ("period", "1m30s", '"1m30s"', timedelta(seconds=90)),
    ("workers", "7", "7", 7),
    ("workers", "auto", '"auto"', "auto"),
    ("timeout", "5s", '"5s"', timedelta(seconds=5)),
    ("grace", "0", '"0"', timedelta(0)),
    ("max-attempts", "9", "9", 9),
    ("retry-backoff", "1.5s", '"1.5s"', timedelta(seconds=1.5)),
    ("encryption-enabled", "false", "false", False),
    ("audit-enabled", "false", "false", False),
    ("audit-file-size", "64MiB", '"64MiB"', 64 << 20),
    ("audit-file-age", "24h", '"24h"', timedelta(days=1)),
    ("audit-retention", "720h", '"720h"', timedelta(days=30)),
    ("backup-interval", "1h", '"1h"', timedelta(hours=1)),
    ("backup-dir", "/backups", '"/backups"', Path("/backups")),
    ("backup-keep", "3", "3", 3),
    ("backup-recipients", "/etc/r", '"/etc/r"', Path("/etc/r")),
    ("kek-file", "/run/kek", '"/run/kek"', Path("/run/kek")),
    ("data-key-age", "24h", '"24h"', timedelta(days=1)),
    ("data-key-uses", "1000", "1000", 1000),
    ("max-wait", "1h", '"1h"', timedelta(hours=1)),
    ("max-wait", "0", '"0"', None),
    ("supersede", "true", "true", True),
    ("retention", "0", '"0"', timedelta(0)),
    ("failed-retention", "1h", '"1h"', timedelta(hours=1)),
    ("compliance-interval", "24h", '"24h"', timedelta(days=1)),
    ("integrity-interval", "1h", '"1h"', timedelta(hours=1)),
    ("cleanup-interval", "0", '"0"', timedelta(0)),
    ("state-dir", "/state", '"/state"', Path("/state")),
    ("schema", "/s.json", '"/s.json"', Path("/s.json")),
    ("file-mode", "0640", '"0640"', 0o640),
    ("file-mode", "600", '"600"', 0o600),
    ("dir-mode", "0750", '"0750"', 0o750),
    ("key-file", "/keys/k.pem", '"/keys/k.pem"', Path("/keys/k.pem")),
    ("max-file-size", "1024", "1024", 1024),
    ("max-file-size", "2MiB", '"2MiB"', 2 << 20),
    ("allow-system-namespaces", "true", "true", True),
    ("max-priority", "7", "7", 7),
    ("intake-rate", "50", "50", Rate(50, 1)),
    ("intake-rate", "0", "0", None),
    ("owner-rate", "600/m", '"600/m"', Rate(600, 60)),
    ("namespace-rate", "1/h", '"1/h"', Rate(1, 3600)),
    ("intake-burst", "9", "9", 9),
    ("allow-namespaces", "oran-sim, edge-*", '["oran-sim", "edge-*"]', ("oran-sim", "edge-*")),
    ("deny-namespaces", "a,a,*", '["a", "*"]', ("a", "*")),
    ("child.read", "/a,/b", '["/a", "/b"]', (Path("/a"), Path("/b"))),
    ("child.write", "/a", '["/a"]', (Path("/a"),)),
    ("child.memory", "1GiB", '"1GiB"', 1 << 30),
    ("child.cpu", "5m", '"5m"', timedelta(minutes=5)),
    ("child.files", "64", "64", 64),
    ("child.file-size", "1MiB", '"1MiB"', 1 << 20),
    ("child.processes", "0", "0", 0),
    ("sandbox", "landlock", '"landlock"', SandboxChoice.LANDLOCK),
    ("sandbox-net", "none", '"none"', NetworkChoice.NONE),
    ("run-as", "nephio:nephio", '"nephio:nephio"', "nephio:nephio"),
    ("porch-sha256", "AB" * 32, f'"{"ab" * 32}"', "ab" * 32),
    ("chroot-enabled", "true", "true", True),
    ("security-enabled", "false", "false", False),
    ("http", "[::1]:8443", '"[::1]:8443"', Address("::1", 8443)),
    ("http", ":80", '":80"', Address("127.0.0.1", 80)),
    ("http-token-file", "/t", '"/t"', Path("/t")),
    ("http-cert", "/c", '"/c"', Path("/c")),
    ("http-key", "/k", '"/k"', Path("/k")),
    ("http-client-ca", "/ca", '"/ca"', Path("/ca")),
    ("http-hosts", "A.example,b", '["a.example", "b"]', ("a.example", "b")),
    ("http-rate", "0", "0", None),
    ("insecure", "true", "true", True),
    ("kubernetes", "true", "true", True),
    ("probe-port", "8081", "8081", 8081),
    ("metrics-port", "0", "0", 0),
    ("max-memory", "0", "0", None),
    ("max-memory", "512MiB", '"512MiB"', 512 << 20),
    ("disk-floor", "1GiB", '"1GiB"', 1 << 30),
    ("log-level", "debug", '"debug"', LogLevel.DEBUG),
    ("traces", "true", "true", True),
    ("log-format", "json", '"json"', LogFormat.JSON),
    ("log-file", "/var/log/c.log", '"/var/log/c.log"', Path("/var/log/c.log")),
]

BAD_VALUES = [
    ("mode", "structred", "did you mean structured?"),
    ("once", "yes", "true or false"),
    ("debounce", "500", "join numbers and units"),
    ("debounce", "-1s", "give 0s or more"),
    ("period", "0", "give 10ms or more"),
    ("timeout", "0s", "give 1ms or more"),
    ("workers", "0", "give 1 to 256, or auto"),
    ("workers", "257", "give 1 to 256, or auto"),
    ("workers", "many", "give 1 to 256, or auto"),
    ("workers", "9" * 5000, "give 1 to 256, or auto"),
    ("max-attempts", "0", "give 1 to 100"),
    ("max-attempts", "101", "give 1 to 100"),
    ("max-attempts", "2.5", "give 1 to 100"),
    ("backup-keep", "0", "give 1 to 100000"),
    ("data-key-uses", "0", "give 1 to 4294967296"),
    ("max-file-size", "10 parsecs", "10MiB"),
    ("max-file-size", "0", "10MiB"),
    ("max-memory", "1KiB", "or auto"),
    ("max-file-size", "1GiB", "10MiB"),
    ("max-priority", "11", "give 0 to 10"),
    ("intake-rate", "fast", "50/s"),
    ("owner-rate", "0/s", "50/s"),
    ("namespace-rate", "5/d", "50/s"),
    ("intake-burst", "0", "give 1 to"),
    ("allow-namespaces", "Oran", "edge-*"),
    ("deny-namespaces", "a*b", "edge-*"),
    ("deny-namespaces", "-*", "edge-*"),
    ("porch-sha256", "abc", "64 digits"),
    ("child.read", "relative", "begin it with a slash"),
    ("sandbox", "landlok", "did you mean landlock?"),
    ("file-mode", "0666", "e.g. 0644"),
    ("file-mode", "0444", "e.g. 0644"),
    ("file-mode", "4644", "e.g. 0644"),
    ("file-mode", "rw-r--r--", "e.g. 0644"),
    ("file-mode", "0o644", "e.g. 0644"),
    ("file-mode", "0648", "e.g. 0644"),
    ("dir-mode", "0777", "e.g. 0755"),
    ("dir-mode", "0644", "e.g. 0755"),
    ("http", "here", "write e.g. :8443"),
    ("http", ":99999", "write e.g. :8443"),
    ("http", "[:::]:1", "write e.g. :8443"),
    ("http-hosts", "a b", "names alone"),
    ("probe-port", "65536", "give 0 to 65535"),
    ("log-level", "inform", "did you mean info?"),
    ("log-format", "xml", "choose text or json"),
    ("handoff", "a\0b", "NUL"),
]


def load(
    flags: Sequence[tuple[str, str]] = (), environ: Mapping[str, str] | None = None
) -> Settings:
    return load_settings(flags, environ or {})


def mistakes(
    flags: Sequence[tuple[str, str]] = (), environ: Mapping[str, str] | None = None
) -> list[UsageError]:
    with pytest.raises(SettingsMistaken) as caught:
        load_settings(flags, environ or {})
    return list(caught.value.mistakes)


def toml(folder: Path, text: str) -> tuple[str, str]:
    file = folder / "conductor.toml"
    file.write_text(text)
    return ("config", str(file))


def attribute(settings: Settings, name: str) -> object:
    value: object = getattr(settings, OPTIONS[name].attribute)
    return value


def as_toml(name: str, value: str) -> str:
    table, _, key = name.rpartition(".")
    return f"[{table}]\n{key} = {value}\n" if table else f"{name} = {value}\n"


def test_without_anything_the_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert settings == dataclasses.replace(Settings(), state_dir=settings.state_dir)
    assert (settings.handoff, settings.out) == (Path("handoff"), Path("out"))
    assert (settings.porch, settings.mode, settings.once) == ("porch", Mode.DIRECT, False)
    assert settings.debounce == timedelta(milliseconds=500)
    assert settings.period == timedelta(seconds=2)
    assert settings.workers == 2
    assert (settings.timeout, settings.grace) == (timedelta(seconds=30), timedelta(seconds=10))
    assert (settings.max_attempts, settings.retry_backoff) == (3, timedelta(seconds=1))
    assert (settings.max_wait, settings.supersede) == (None, False)
    assert settings.retention == settings.failed_retention == timedelta(days=7)
    assert settings.cleanup_interval == timedelta(days=1)
    assert settings.state_dir == Path("handoff/.conductor")
    assert (settings.schema, settings.config, settings.log_file) == (None, None, None)
    assert settings.max_file_size == 10_485_760
    assert (settings.log_level, settings.log_format) == (LogLevel.INFO, None)
    assert (settings.child_env, settings.allow_system_namespaces) == ((), False)
    assert settings.warnings == ()


@pytest.mark.parametrize(("name", "text", "_toml", "expected"), VALUES)
def test_a_flag_sets_it(name: str, text: str, _toml: str, expected: object) -> None:
    assert attribute(load([(name, text)]), name) == expected


@pytest.mark.parametrize(("name", "text", "_toml", "expected"), VALUES)
def test_a_variable_sets_it(name: str, text: str, _toml: str, expected: object) -> None:
    settings = load(environ={OPTIONS[name].variable: text})
    assert attribute(settings, name) == expected
    assert settings.warnings == ()


@pytest.mark.parametrize(("name", "_text", "value", "expected"), VALUES)
def test_the_file_sets_it(
    name: str, _text: str, value: str, expected: object, tmp_path: Path
) -> None:
    assert attribute(load([toml(tmp_path, as_toml(name, value))]), name) == expected


def test_every_setting_is_tried_above() -> None:
    assert {name for name, *_ in VALUES} | {"config", "child.env"} == set(OPTIONS)


def test_what_is_shown_is_read_back_the_same() -> None:
    for name, text, _, expected in VALUES:
        reader = OPTIONS[name].reader
        assert reader.read(reader.show(expected)) == expected
        assert reader.read(text) == expected
    for option in OPTIONS.values():
        assert option.reader.read(option.reader.show(option.reader.read(option.default))) == (
            option.reader.read(option.default)
        )


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = toml(tmp_path, 'workers = 3\nmax-attempts = 4\ntimeout = "5s"')
    environ = {"CONDUCTOR_WORKERS": "6", "CONDUCTOR_MAX_ATTEMPTS": "7"}
    settings = load([file, ("workers", "8")], environ)
    assert settings.workers == 8
    assert settings.max_attempts == 7
    assert settings.timeout == timedelta(seconds=5)
    assert settings.grace == timedelta(seconds=10)


def test_of_a_flag_given_twice_the_last_counts() -> None:
    assert load([("workers", "3"), ("workers", "4")]).workers == 4


def test_handoff_given_twice_asks_for_two_instances() -> None:
    (mistake,) = mistakes([("handoff", "a"), ("handoff", "b")])
    assert "given twice" in mistake.message
    assert "two instances" in mistake.hint


def test_the_state_folder_is_inside_the_handoff_unless_said_otherwise() -> None:
    assert load([("handoff", "/in")]).state_dir == Path("/in/.conductor")
    assert load([("handoff", "/in"), ("state-dir", "/s")]).state_dir == Path("/s")


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(environ={"CONDUCTOR_HANDOFF": ""}).handoff == Path("handoff")


def test_words_are_taken_in_any_case() -> None:
    assert load(environ={"CONDUCTOR_LOG_LEVEL": "DEBUG"}).log_level is LogLevel.DEBUG


def test_the_file_can_be_named_by_the_environment(tmp_path: Path) -> None:
    _, path = toml(tmp_path, "workers = 5")
    settings = load(environ={"CONDUCTOR_CONFIG": path})
    assert (settings.workers, settings.config) == (5, Path(path))


def test_relative_paths_in_the_file_are_relative_to_the_file(tmp_path: Path) -> None:
    text = 'handoff = "in"\nout = "/out"\nporch = "./bin/porch"\nlog-file = "c.log"'
    settings = load([toml(tmp_path, text)])
    assert settings.handoff == tmp_path / "in"
    assert settings.out == Path("/out")
    assert settings.porch == f"{tmp_path}/bin/porch"
    assert settings.log_file == tmp_path / "c.log"


def test_a_bare_command_name_in_the_file_stays_a_name_on_path(tmp_path: Path) -> None:
    assert load([toml(tmp_path, 'porch = "porch"')]).porch == "porch"


@pytest.mark.parametrize(("name", "text", "hint"), BAD_VALUES)
def test_a_bad_value_is_told_with_where_it_stands_and_what_to_write(
    name: str, text: str, hint: str
) -> None:
    for origin, given in (
        (f"-{name}: ", mistakes([(name, text)])),
        (OPTIONS[name].variable + ": ", mistakes(environ={OPTIONS[name].variable: text})),
    ):
        assert len(given) == 1
        assert given[0].message.startswith(origin)
        assert hint in given[0].message + given[0].hint
        assert given[0].exit_status == 2


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("workers = 2.0", "workers", "a whole number"),
        ("workers = true", "workers", "a whole number"),
        ('once = "true"', "once", "true or false"),
        ("timeout = 30", "timeout", "a string"),
        ("handoff = 5", "handoff", "a string"),
        ('handoff = ["a", "b"]', "handoff", "a string"),
        ('handof = "x"', "handof", "did you mean handoff?"),
        ("max_attempts = 3", "max_attempts", "did you mean max-attempts?"),
        ('[log]\nlevel = "debug"', "log.level", "did you mean log-level?"),
        ("zzz = 1", "zzz", "name of a flag"),
        ('config = "x.toml"', "config", ""),
        ("[child]\nenv = [1]", "child.env", "KUBECONFIG"),
        ('[child]\nenv = ["A=B"]', "child.env", "names alone"),
        ("[child]\nenv = 1979-05-27", "child.env", "a list of strings"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_file_and_key(
    text: str, key: str, hint: str, tmp_path: Path
) -> None:
    file = toml(tmp_path, text)
    (mistake,) = mistakes([file])
    assert mistake.message.startswith(f"{file[1]}: {key}: ")
    assert hint in mistake.hint


@pytest.mark.parametrize(
    ("content", "expected", "hint"),
    [
        (b"workers = \n", "line 1", "in quotes"),
        (b"\xff", "is not TOML", "UTF-8"),
        ('out = "o"'.encode("utf-16"), "is not TOML", "UTF-8"),
        (b"a = 1\na = 2\n", "line 2", "stands once"),
        (b"[a]\n[a]\n", "line 2", "stands once"),
        (b"out\n", "is not TOML", "a line sets one thing"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_its_line_and_what_to_do(
    content: bytes, expected: str, hint: str, tmp_path: Path
) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    (mistake,) = mistakes([("config", str(file))])
    assert expected in mistake.message
    assert hint in mistake.hint


def test_the_mark_that_some_editors_begin_a_file_with_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xef\xbb\xbfworkers = 7\n")
    assert load_settings([("config", str(file))], {}).workers == 7


def test_a_pause_longer_than_it_can_become_is_refused() -> None:
    (mistake,) = mistakes([("retry-backoff", "2h")])
    assert mistake.message == "-retry-backoff: 2h is too long"
    assert mistake.hint == "give 5m0s or less"


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    (mistake,) = mistakes([("config", str(tmp_path / "none.toml"))])
    assert "No such file" in mistake.message


def test_all_mistakes_of_all_sources_are_told_at_once(tmp_path: Path) -> None:
    file = toml(tmp_path, 'workers = 0\nhandof = "x"\ntimeout = 3')
    environ = {"CONDUCTOR_MODE": "fast", "CONDUCTOR_LOG_LEVEL": "loud"}
    flags = [file, ("debounce", "soon"), ("max-attempts", "-1")]
    earlier = [UsageError("unknown flag -x", hint="see --help")]
    with pytest.raises(SettingsMistaken) as caught:
        load_settings(flags, environ, earlier)
    found = [one.message for one in caught.value.mistakes]
    assert len(found) == 8
    for expected in (
        "unknown flag -x",
        "conductor.toml: workers",
        "conductor.toml: handof",
        "conductor.toml: timeout",
        "CONDUCTOR_MODE",
        "CONDUCTOR_LOG_LEVEL",
        "-debounce",
        "-max-attempts",
    ):
        assert any(expected in message for message in found), expected
    assert all(one.hint for one in caught.value.mistakes)


def test_a_bad_value_is_told_although_a_stronger_source_overrides_it() -> None:
    (mistake,) = mistakes([("workers", "3")], {"CONDUCTOR_WORKERS": "abc"})
    assert mistake.message.startswith("CONDUCTOR_WORKERS")


def test_out_must_not_be_the_handoff_folder(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    (mistake,) = mistakes([("handoff", str(tmp_path)), ("out", str(link))])
    assert "same folder" in mistake.message


@pytest.mark.parametrize("out", ["s", "s/out"])
def test_packages_must_not_go_into_the_state_folder(out: str, tmp_path: Path) -> None:
    flags = [("state-dir", str(tmp_path / "s")), ("out", str(tmp_path / out))]
    (mistake,) = mistakes(flags)
    assert "inside the state folder" in mistake.message


@pytest.mark.parametrize("flag", ["handoff", "state-dir"])
@pytest.mark.parametrize("below", ["h", "ns/target", "a/b/c/d"])
def test_no_package_may_take_the_place_of_a_folder_of_the_daemon(
    flag: str, below: str, tmp_path: Path
) -> None:
    folders = {"handoff": tmp_path / "handoff", "state-dir": tmp_path / "state"}
    folders[flag] = tmp_path / "out" / below
    flags = [(name, str(path)) for name, path in folders.items()]

    (mistake,) = mistakes([*flags, ("out", str(tmp_path / "out"))])

    assert f"-{flag} is inside -out" in mistake.message


@pytest.mark.parametrize("name", ["processed", "failed", "status", "processed/deeper"])
def test_packages_must_not_go_where_the_daemon_files_intents(name: str, tmp_path: Path) -> None:
    handoff = tmp_path / "handoff"
    (mistake,) = mistakes([("handoff", str(handoff)), ("out", str(handoff / name))])
    assert "belongs to the daemon" in mistake.message


@pytest.mark.parametrize(
    "name",
    ["processed", "failed", "status", "status/history", ".conductor/claimed/x"],
)
def test_the_state_must_not_be_where_the_daemon_keeps_files_and_verdicts(
    name: str, tmp_path: Path
) -> None:
    handoff = tmp_path / "handoff"
    (mistake,) = mistakes([("handoff", str(handoff)), ("state-dir", str(handoff / name))])
    assert "-state-dir is inside" in mistake.message
    assert "belongs to the daemon" in mistake.message
    assert "-state-dir" in mistake.hint


@pytest.mark.parametrize("name", [".conductor", "state"])
def test_the_state_may_be_in_a_folder_of_its_own_inside_the_handoff(
    name: str, tmp_path: Path
) -> None:
    handoff = tmp_path / "handoff"
    flags = [("handoff", str(handoff)), ("state-dir", str(handoff / name))]
    assert load(flags).state_dir == handoff / name


def test_another_path_to_the_same_folder_deceives_nobody(tmp_path: Path) -> None:
    (tmp_path / "real" / "handoff").mkdir(parents=True)
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    flags = [("handoff", str(tmp_path / "real" / "handoff")), ("out", str(tmp_path / "alias"))]
    assert any("-handoff is inside -out" in mistake.message for mistake in mistakes(flags))


def test_packages_may_go_into_a_folder_of_their_own_inside_the_handoff(tmp_path: Path) -> None:
    flags = [("handoff", str(tmp_path / "h")), ("out", str(tmp_path / "h" / "packages"))]
    assert load(flags).out == tmp_path / "h" / "packages"


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        ([], {"CONDUCTOR_CHROOT_ENABLED": "true", "CONDUCTOR_SECURITY_ENABLED": "false"}),
        ([("sandbox", "bwrap")], {"CONDUCTOR_SECURITY_ENABLED": "false"}),
        ([("sandbox", "landlock")], {"CONDUCTOR_SECURITY_ENABLED": "false"}),
        ([("porch", "builtin")], {"CONDUCTOR_CHROOT_ENABLED": "true"}),
        ([("porch", "builtin"), ("sandbox", "bwrap")], {}),
    ],
)
def test_a_demand_on_the_sandbox_that_cannot_be_met_is_a_mistake_with_a_code(
    flags: list[tuple[str, str]], environ: dict[str, str]
) -> None:
    with pytest.raises(SettingsMistaken) as caught:
        load(flags, environ)

    assert caught.value.code == "sandbox_contradictory"
    assert caught.value.hint


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_what_demands_no_sandbox_goes_with_the_security_switch(choice: str) -> None:
    environ = {"CONDUCTOR_SECURITY_ENABLED": "false"}

    assert load([("sandbox", choice)], environ).sandbox_choice() is SandboxChoice.NONE


def test_an_unknown_variable_only_warns() -> None:
    (warning,) = load(environ={"CONDUCTOR_LOOP_SERVICE_HOST": "10.0.0.1"}).warnings
    assert warning == "CONDUCTOR_LOOP_SERVICE_HOST is not a setting and is ignored"


@pytest.mark.parametrize(
    "variable",
    ["LOOP_PORT", "LOOP_PORT_8080_TCP", "LOOP_PORT_8080_TCP_ADDR", "HTTP_SERVICE_PORT_METRICS"],
)
def test_a_variable_that_kubernetes_sets_for_a_service_is_not_taken_for_a_slip(
    variable: str,
) -> None:
    (warning,) = load(environ={f"CONDUCTOR_{variable}": "tcp://10.0.0.1:8080"}).warnings
    assert warning == f"CONDUCTOR_{variable} is not a setting and is ignored"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("retention = 0", 'write a string, e.g. "168h" or "0"'),
        ("retention = 168", 'write a string, e.g. "168h"'),
        ("timeout = 0", 'write a string, e.g. "168h"'),
    ],
)
def test_a_number_in_place_of_a_duration_is_told_how_to_write_one(
    line: str, hint: str, tmp_path: Path
) -> None:
    (mistake,) = mistakes([toml(tmp_path, line)])
    assert mistake.hint == hint


def test_an_unknown_variable_that_is_nearly_right_is_guessed() -> None:
    (warning,) = load(environ={"CONDUCTOR_HANDOF": "/in"}).warnings
    assert "did you mean CONDUCTOR_HANDOFF?" in warning


@pytest.mark.parametrize("switch", ["AUDIT", "CHROOT", "ENCRYPTION", "SECURITY"])
def test_every_switch_of_the_original_is_a_setting(switch: str) -> None:
    assert f"CONDUCTOR_{switch}_ENABLED" in {option.variable for option in OPTIONS.values()}


def test_other_variables_are_nobodys_business() -> None:
    assert load(environ={"PATH": "/bin", "XCONDUCTOR_A": "1"}).warnings == ()


def test_names_for_the_child_come_from_the_file_or_a_variable(tmp_path: Path) -> None:
    environ = {"HOME": "/root", "KUBECONFIG": "/k"}
    file = toml(tmp_path, '[child]\nenv = ["HOME", "KUBECONFIG", "HOME"]')
    assert load([file], environ).child_env == ("HOME", "KUBECONFIG")
    environ["CONDUCTOR_CHILD_ENV"] = "HOME, KUBECONFIG"
    assert load(environ=environ).child_env == ("HOME", "KUBECONFIG")


def test_a_name_for_the_child_that_is_not_set_warns() -> None:
    (warning,) = load(environ={"CONDUCTOR_CHILD_ENV": "NOWHERE"}).warnings
    assert "NOWHERE" in warning


def test_the_digest_follows_what_is_in_effect_and_nothing_else(tmp_path: Path) -> None:
    plain = load()
    assert len(plain.digest()) == 64
    assert plain.digest() == load([("workers", "2")]).digest()
    assert plain.digest() == load(environ={"CONDUCTOR_X": "1"}).digest()
    assert plain.digest() == load([toml(tmp_path, "workers = 2")]).digest()
    changed = {load([(name, text)]).digest() for name, text, *_ in VALUES if text != "0"}
    assert len(changed) == len([1 for _, text, *_ in VALUES if text != "0"])
    assert plain.digest() not in changed


def test_a_file_name_that_is_no_unicode_is_taken_and_digested() -> None:
    name = os.fsdecode(b"/in/\xff")
    settings = load([("handoff", name)])
    assert os.fsencode(settings.handoff) == b"/in/\xff"
    assert len(settings.digest()) == 64


def test_auto_workers_are_at_least_one_and_a_number_is_itself() -> None:
    assert load([("workers", "5")]).worker_count() == 5
    assert 1 <= load([("workers", "auto")]).worker_count() <= len(os.sched_getaffinity(0))


def test_the_reference_is_what_the_code_says() -> None:
    assert PAGE.read_text() == reference(), "run: python -m conductor_loop.settings.reference"


SAFE = [("http-cert", "/c"), ("http-key", "/k"), ("http-token-file", "/t")]


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "example.org:80"])
def test_other_machines_are_served_only_with_tls_and_a_token_or_by_an_explicit_word(
    address: str,
) -> None:
    http = ("http", address)
    for given in ([], SAFE[:2], SAFE[2:]):
        (mistake,) = mistakes([http, *given])
        assert "-insecure" in mistake.hint
    load([http, *SAFE])
    load([http, *SAFE[:2], ("http-client-ca", "/ca")])
    load([http, ("insecure", "true")])


def test_a_certificate_without_its_key_is_a_mistake() -> None:
    (mistake,) = mistakes([("http", ":80"), ("http-cert", "/c")])
    assert "belong together" in mistake.message
