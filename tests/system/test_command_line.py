"""The command itself, as typed: help, usage errors, and what it costs to start."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import conductor_loop
from conductor_loop.cli.commands import SUMMARIES, load
from conductor_loop.cli.main import main
from conductor_loop.contracts import schema_text

COMMAND = [sys.executable, "-m", "conductor_loop"]
COMMANDS = list(SUMMARIES)
GOOD_PATH = "handoff/intent-good.json"
GOOD = (
    '{"intent_type": "scaling", "target": "cnf-simulator", "namespace": "oran-sim", "replicas": 3}'
)


def clean_environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CONDUCTOR_")}
    return {**kept, **more}


def typed(
    *words: str, cwd: Path | None = None, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *words],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env=clean_environment(**environment),
        timeout=60,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def called(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, list[str]]:
    """As `typed`, in this process: for what needs no process of its own."""
    status = main(words)
    captured = capfd.readouterr()
    return status, captured.out, captured.err.splitlines()


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of the tests sets is not meant for the command."""
    for name in [name for name in os.environ if name.startswith("CONDUCTOR_")]:
        monkeypatch.delenv(name)


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def test_closed_standard_streams_are_not_replaced_by_a_file_of_ours(tmp_path: Path) -> None:
    words = [*COMMAND, "-once", "-porch", "builtin", "-log-file", "log"]
    (tmp_path / "handoff").mkdir()
    (tmp_path / "handoff/intent-a.json").write_text(GOOD)
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words],
        cwd=tmp_path,
        env=clean_environment(),
        timeout=60,
    )
    assert done.returncode == 0
    assert (tmp_path / "out/oran-sim/cnf-simulator/scaling-patch.yaml").exists()


def test_in_one_pipe_what_is_said_first_comes_first(tmp_path: Path) -> None:
    (tmp_path / "handoff").mkdir()
    (tmp_path / "handoff/intent-a.json").write_text("{}")
    done = subprocess.run(
        [*COMMAND, "-once", "-debounce", "0s", "-porch", "builtin", "-log-file", "log"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = done.stdout.splitlines()
    assert [said[-3].split()[:2], said[-2]] == [["1", "rejected"], "ERROR: not all succeeded"]


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_the_version_is_told_without_importing_the_program(flag: str) -> None:
    program = (
        "import sys; from conductor_loop.cli.main import main; status = main([sys.argv[1]]);"
        "sys.stderr.write(' '.join(sorted(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, flag], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"conductor-loop {conductor_loop.__version__}\n")
    loaded = set(done.stderr.split())
    ours = {name for name in loaded if name.startswith("conductor_loop")}
    assert ours == {"conductor_loop", "conductor_loop.cli", "conductor_loop.cli.main"}
    assert not loaded & {"argparse", "asyncio", "msgspec", "dataclasses", "apsw", "typing"}


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_the_overview_names_every_command_and_every_flag_of_the_original(
    flag: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = called(capfd, flag)
    assert (status, err) == (0, [])
    assert all(f"\n  {name} " in out for name in SUMMARIES)
    for original in ("-handoff", "-porch", "-mode", "-out", "-once", "-debounce"):
        assert re.search(rf"\n  {original}[ \[]", out)


def test_help_as_a_word_is_the_overview_or_the_help_of_a_command(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert called(capfd, "help") == called(capfd, "--help")
    assert called(capfd, "help", "retry") == called(capfd, "retry", "--help")


def test_the_help_shows_that_a_switch_takes_its_value_behind_an_equals_sign(
    capfd: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = called(capfd, "run", "--help")
    assert "\n  -once[=true|false]" in out
    assert " [true|false]" not in out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_shows_an_example(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = called(capfd, name, "--help")
    assert (status, err) == (0, [])
    assert out.startswith(f"usage: conductor-loop {name}")
    examples = out.split("\nexamples:\n", 1)[1]
    assert "conductor-loop" in examples
    for flag in ("-handoff DIR", "-state-dir DIR", "-config FILE"):
        assert flag in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_what_its_module_says(name: str) -> None:
    command = load(name)
    assert name == command.NAME
    assert command.HELP


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_a_usage_error_of_every_command(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = called(capfd, name, "-handof", "x")
    assert (status, out) == (2, "")
    assert err == ["ERROR: unknown flag -handof", "hint: did you mean -handoff?"]


def test_a_usage_error_is_told_by_the_process_too() -> None:
    done = typed("-handof", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert told(done) == ["ERROR: unknown flag -handof", "hint: did you mean -handoff?"]


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["lst"], "ERROR: unknown command lst", "hint: did you mean list?"),
        (["zzz"], "ERROR: unknown command zzz", "hint: conductor-loop --help lists the commands"),
        (
            ["-handoff", "a", "--handoff=b"],
            "ERROR: -handoff is given twice, but one instance serves one folder",
            "hint: run two instances, each with its own -handoff and -out",
        ),
        (["-once", "list"], "ERROR: unexpected argument list", "hint: the command comes first"),
        (["submit"], "ERROR: the following arguments are required: FILE", "hint: conductor-loop"),
        (["-x\x1b[2J"], "ERROR: unknown flag -x\\x1b[2J", "hint: "),
    ],
)
def test_a_usage_error_is_told_in_two_lines(
    words: list[str], error: str, hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = called(capfd, *words)
    assert (status, out, len(err)) == (2, "", 2)
    assert err[0] == error
    assert err[1].startswith(hint)


def test_mistakes_of_the_command_line_the_environment_and_the_file_come_together(
    tmp_path: Path,
) -> None:
    file = tmp_path / "c.toml"
    file.write_text('mode = "fast"\n')
    done = typed("-wrokers", "3", "-timeout=abc", "-config", str(file), CONDUCTOR_PERIOD="0")
    assert done.returncode == 2
    errors = [line for line in told(done) if line.startswith("ERROR: ")]
    assert [error.split()[1].rstrip(":") for error in errors] == [
        "unknown",
        f"{file}",
        "CONDUCTOR_PERIOD",
        "-timeout",
    ]
    assert len([line for line in told(done) if line.startswith("hint: ")]) == 4


def test_commands_warn_of_unknown_variables_and_go_on() -> None:
    done = typed("schema", CONDUCTOR_HANDOF="/in")
    assert done.returncode == 0
    (warning,) = told(done)
    assert warning.startswith("WARNING: CONDUCTOR_HANDOF is not a setting")


@pytest.mark.parametrize("contract", ["intent", "verdict"])
def test_a_contract_is_printed_as_it_was_written(contract: str) -> None:
    done = typed("schema", contract)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == schema_text("intent" if contract == "intent" else "verdict")


def test_without_a_word_the_contract_is_that_of_an_intent() -> None:
    assert typed("schema").stdout == schema_text("intent")


def test_a_good_intent_is_valid(tmp_path: Path) -> None:
    (tmp_path / "intent-a.json").write_text(GOOD)
    done = typed("validate", "intent-a.json", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "intent-a.json: ok\n", "")


def test_every_fault_is_told_with_its_pointer_and_a_hint(tmp_path: Path) -> None:
    bad = '{"intent_type": "scalig", "target": "t", "namespace": "n", "replicas": 101, "x": 1}'
    (tmp_path / "intent-b.json").write_text(bad)
    done = typed("validate", "intent-b.json", cwd=tmp_path)
    assert done.returncode == 8
    assert done.stdout.startswith("intent-b.json: 3 faults\n")
    for pointer in ("/intent_type: ", "/replicas: ", "/x: "):
        assert f"\n  {pointer}" in done.stdout
    assert done.stdout.count("\n    hint: ") == 3


def test_faults_are_json_when_asked(tmp_path: Path) -> None:
    (tmp_path / "intent-b.json").write_text("{")
    (tmp_path / "intent-a.json").write_text(GOOD)
    done = typed("validate", "-json", "intent-a.json", "intent-b.json", cwd=tmp_path)
    assert done.returncode == 8
    good, bad = json.loads(done.stdout)
    assert (good["valid"], good["faults"]) == (True, [])
    assert (bad["valid"], bad["file"]) == (False, "intent-b.json")
    assert set(bad["faults"][0]) == {"code", "pointer", "message", "hint"}


def test_standard_input_can_be_validated() -> None:
    assert typed("validate", "-", stdin=GOOD.encode()).stdout == "-: ok\n"
    assert typed("validate", "-", stdin=b"").returncode == 8


def test_a_file_that_cannot_be_read_does_not_keep_others_from_being_checked(
    tmp_path: Path,
) -> None:
    (tmp_path / "intent-a.json").write_text(GOOD)
    done = typed("validate", "none.json", "intent-a.json", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == "intent-a.json: ok\n"
    assert told(done)[0] == "ERROR: cannot read none.json: No such file or directory"
    assert told(done)[2] == "ERROR: cannot read .: Is a directory"


def test_a_name_that_would_be_left_alone_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "scale.json").write_text(GOOD)
    done = typed("validate", "scale.json", cwd=tmp_path)
    assert done.returncode == 0
    assert "would not be picked up" in told(done)[0]


def test_validation_follows_the_settings(tmp_path: Path) -> None:
    (tmp_path / "intent-a.json").write_text(GOOD)
    (tmp_path / "intent-k.json").write_text(GOOD.replace("oran-sim", "kube-system"))
    assert typed("validate", "intent-k.json", cwd=tmp_path).returncode == 8
    allowed = typed("validate", "intent-k.json", "-allow-system-namespaces", cwd=tmp_path)
    assert allowed.returncode == 0
    small = typed("validate", "intent-a.json", cwd=tmp_path, CONDUCTOR_MAX_FILE_SIZE="20")
    assert small.returncode == 8
    assert "[too_large]" in small.stdout


def test_a_file_that_is_too_large_is_told_with_its_real_size(tmp_path: Path) -> None:
    big = tmp_path / "intent-big.json"
    big.touch()
    os.truncate(big, 11_000_000)
    done = typed("validate", "intent-big.json", cwd=tmp_path)
    assert "the file has 11,000,000 bytes, the limit is 10,485,760" in done.stdout
    (found,) = json.loads(typed("validate", "-json", "intent-big.json", cwd=tmp_path).stdout)
    assert found["sha256"] is None


def test_a_stream_that_is_too_large_is_told_without_a_size() -> None:
    done = typed("validate", "-", stdin=b" " * 21, CONDUCTOR_MAX_FILE_SIZE="20")
    assert "the file has too many bytes, the limit is 20" in done.stdout


def test_an_unusable_schema_is_told_before_anything_else(tmp_path: Path) -> None:
    done = typed("validate", "-schema", str(tmp_path / "none.json"), "-", stdin=GOOD.encode())
    assert done.returncode == 1
    assert "cannot be read" in told(done)[0]


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    words = " ".join(f"'{word}'" for word in [*COMMAND, "schema"])
    done = subprocess.run(
        ["bash", "-c", f"{words} | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=60,
    )
    # A fast writer may be done before the reader is gone.
    assert done.stdout in ("141\n", "0\n")
    assert done.stderr == ""


def test_a_closed_pipe_is_reported_as_a_shell_would() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [*COMMAND, "schema"], stdout=closed, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_defect_is_never_a_trace_on_the_terminal() -> None:
    assert defect("RuntimeError('odd\\nthing')", {}) == [
        "ERROR: unexpected RuntimeError: odd\\nthing",
        "hint: this is a defect; CONDUCTOR_LOG_LEVEL=debug shows where",
    ]
    assert "Traceback (most recent call last):" in defect(
        "RuntimeError()", {"CONDUCTOR_LOG_LEVEL": "debug"}
    )


def defect(error: str, environment: dict[str, str]) -> Sequence[str]:
    """Run a command whose module fails; what the terminal shows of it."""
    program = (
        "import sys, types; fake = types.ModuleType('conductor_loop.cli.why');"
        "fake.NAME = fake.HELP = fake.EXAMPLES = 'why'; fake.add_arguments = lambda parser: None\n"
        f"def run(args, settings): raise {error}\n"
        "fake.run = run; sys.modules[fake.__name__] = fake\n"
        "from conductor_loop.cli.main import main; sys.exit(main(['why']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=clean_environment(**environment),
        timeout=60,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()


@pytest.fixture
def two_intents(tmp_path: Path) -> Path:
    """A handoff folder with one good and one bad intent."""
    handoff = tmp_path / "handoff"
    handoff.mkdir()
    (handoff / "intent-good.json").write_text(GOOD)
    (handoff / "intent-bad.json").write_text("{}")
    return tmp_path


def test_once_sums_up_and_tells_by_its_status_that_not_all_succeeded(two_intents: Path) -> None:
    done = typed("-once", "-porch", "builtin", cwd=two_intents)
    assert done.returncode == 8
    assert re.fullmatch(r"1 published, 1 rejected in [0-9.]+m?s\n", done.stdout)
    *log, error, hint = told(done)
    assert (error, hint.split()[:3]) == (
        "ERROR: not all succeeded",
        ["hint:", "conductor-loop", "list"],
    )
    lines = [json.loads(line) for line in log]
    assert {line.get("file.name") for line in lines} >= {"intent-good.json", "intent-bad.json"}
    assert (two_intents / "out/oran-sim/cnf-simulator/scaling-patch.yaml").exists()


def test_once_with_nothing_to_do_succeeds_and_says_so(tmp_path: Path) -> None:
    done = typed("-once", "-porch", "builtin", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("nothing to do in ")


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", [["--version"], ["list", "--help"]], ids=" ".join)
def test_an_output_that_takes_nothing_is_told_of_and_is_no_trace(
    words: list[str], buffered: bool
) -> None:
    environment = clean_environment(PYTHONUNBUFFERED="" if buffered else "1")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("ERROR: the system refused: [Errno 28]")
    assert len(done.stderr.splitlines()) == 2
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as nobody:
        done = subprocess.run(
            [*COMMAND, *words], stdout=nobody, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_warnings_of_the_daemon_go_into_its_log(tmp_path: Path) -> None:
    words = ("-once", "-porch", "builtin", "-log-file", "log")
    done = typed(*words, cwd=tmp_path, CONDUCTOR_HANDOF="in")
    assert (done.returncode, done.stderr) == (0, "")
    messages = [json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()]
    assert any("CONDUCTOR_HANDOF is not a setting" in message for message in messages)


def test_on_a_terminal_the_log_is_text_and_a_bar_shows_the_progress(two_intents: Path) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        child = subprocess.Popen(
            [*COMMAND, "-once", "-porch", "builtin"],
            cwd=two_intents,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=clean_environment(TERM="xterm"),
        )
        os.close(theirs)
        shown = everything_on(screen)
        assert child.wait(60) == 8
    assert " INFO  published" in shown
    assert "intent.file=intent-good.json" in shown
    assert "2/2" in shown
    assert "Traceback" not in shown


def everything_on(screen: io.FileIO) -> str:
    parts = []
    # EIO is how Linux says that nobody holds the other end any more.
    with contextlib.suppress(OSError):
        while part := screen.read(65536):
            parts.append(part)
    return b"".join(parts).decode()


@pytest.fixture(scope="module")
def bash_completion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script that a user would source."""
    script = tmp_path_factory.mktemp("completion") / "conductor-loop.bash"
    script.write_text(typed("completion", "bash").stdout)
    return script


@pytest.mark.needs("bash")
@pytest.mark.parametrize(
    ("typed_so_far", "completed"),
    [
        (["su"], ["submit"]),
        (["-hando"], ["-handoff"]),
        (["run", "-mode", "s"], ["structured"]),
        (["run", "--mode", "s"], ["structured"]),
        (["--log-level", "d"], ["debug"]),
        (["--hando"], ["--handoff"]),
        (["submit", "--wa"], ["--wait", "--wait-timeout"]),
        (["retry", "-wh"], ["-why"]),
        (["run", "-handoff", "han"], ["handoff"]),
        (["validate", "handoff/intent-g"], ["handoff/intent-good.json"]),
        (["schema", "v"], ["verdict"]),
    ],
)
def test_bash_completes_commands_flags_words_and_paths(
    typed_so_far: list[str], completed: list[str], two_intents: Path, bash_completion: Path
) -> None:
    words = " ".join(f"'{word}'" for word in ["conductor-loop", *typed_so_far])
    script = (
        f"source '{bash_completion}'\n"
        f"COMP_WORDS=({words}); COMP_CWORD={len(typed_so_far)}\n"
        "function=$(complete -p conductor-loop | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        '$function conductor-loop "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=two_intents, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.split(), done.stderr) == (completed, "")


@pytest.mark.needs("bash")
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("state import o\t", ["state", "import", "old.json"]),
        ("-porch ./o\t", ["-porch", "./old.json"]),
        ("demo -folder h\t", ["demo", "-folder", "handoff/"]),
        ("-handoff=h\t", ["-handoff=handoff/"]),
        ("--handoff=h\t", ["--handoff=handoff/"]),
        ("run -mode=s\t", ["run", "-mode=structured"]),
        ("run -mode=direct -handof\t", ["run", "-mode=direct", "-handoff"]),
        ("validate -schema=o\t hand\tintent-g\t", ["validate", "-schema=old.json", GOOD_PATH]),
    ],
    ids=repr,
)
def test_a_tab_in_bash_completes_what_follows_a_flag_or_its_equals_sign(
    keys: str, words: list[str], two_intents: Path, bash_completion: Path
) -> None:
    (two_intents / "old.json").touch()
    (two_intents / "rc").write_text(
        f"source '{bash_completion}'\n"
        'conductor-loop() { printf "%s\\n" "$@" > words; exit; }\nPS1="ready> "\n'
    )
    ours, theirs = pty.openpty()
    with open(ours, "r+b", buffering=0) as screen:
        shell = subprocess.Popen(
            ["bash", "--noprofile", "--rcfile", "rc", "-i"],
            cwd=two_intents,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=clean_environment(TERM="dumb"),
            start_new_session=True,
        )
        os.close(theirs)
        shown = b""
        while b"ready> " not in shown:
            shown += screen.read(65536)
        screen.write(f"conductor-loop {keys}\n".encode())
        everything_on(screen)
        shell.wait(60)
    assert (two_intents / "words").read_text().splitlines() == words


def test_zsh_gets_a_script_of_its_own() -> None:
    assert typed("completion", "zsh").stdout.startswith("#compdef conductor-loop")


def test_an_interrupt_ends_with_the_status_of_sigint(tmp_path: Path) -> None:
    fifo = tmp_path / "intent-slow.json"
    os.mkfifo(fifo)
    command = [*COMMAND, "validate", str(fifo)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # It can be opened as soon as the command has opened it for reading.
    with child, fifo.open("wb"):
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (130, b"", b"")
