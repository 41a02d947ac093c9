"""The container image: what its Dockerfile says, and its entry point run in that layout.

There is no container engine here. What the Dockerfile lays out is built with bubblewrap: the
folders, the user, a root that cannot be written, the entry point as process 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from tests.dockerfile import stages
from tests.system.daemon import PATIENCE, intent, wait_until

TOP = Path(__file__).parents[2]
STAGES = stages(TOP / "Dockerfile")
IMAGE = STAGES[-1]
COMPOSE = yaml.safe_load((TOP / "docker-compose.yml").read_text())["services"]["conductor-loop"]
# The lines of the original's README, "Option 2: Use Docker" and "Docker Compose".
SEED_COMMAND = ["-handoff", "/handoff", "-out", "/output", "-mode", "structured"]


def test_every_stage_begins_with_the_same_exact_image() -> None:
    bases = {stage.base for stage in STAGES}
    (base,) = bases
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_whatever_comes_from_a_registry_is_locked_by_hash() -> None:
    installs = [
        command
        for stage in STAGES
        for run in stage.all_of("RUN")
        for command in run.split("&&")
        if "pip install" in command
    ]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command


def test_the_last_stage_installs_and_downloads_nothing() -> None:
    for run in IMAGE.all_of("RUN"):
        assert not re.search(r"apt|curl|wget|pip install", run)
    assert all(copy.startswith("--from=") for copy in IMAGE.all_of("COPY"))


def test_it_runs_as_nobody_in_particular() -> None:
    user, group = map(int, IMAGE.last("USER").split(":"))
    assert user > 10_000
    assert group > 10_000


def test_health_is_asked_of_the_daemon() -> None:
    assert IMAGE.words("HEALTHCHECK") == ["conductor-loop", "health"]
    assert IMAGE.words("ENTRYPOINT") == ["conductor-loop"]


def test_what_the_build_gets_to_see_is_listed() -> None:
    ignored = (TOP / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    copied = {
        word for stage in STAGES[:-1] for copy in stage.all_of("COPY") for word in copy.split()
    }
    sources = {word for word in copied if (TOP / word).exists() and word not in (".", "./")}
    assert sources == {line[1:] for line in ignored if line.startswith("!")}


def test_hadolint_finds_nothing() -> None:
    # Among the locked dependencies of development, where there is a build of it.
    own = Path(sys.executable).with_name("hadolint")
    if not own.exists() and platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("there is no hadolint for this machine")
    linted = subprocess.run([own, TOP / "Dockerfile"], capture_output=True, text=True)
    assert (linted.stdout, linted.returncode) == ("", 0)


def test_the_compose_file_has_only_what_compose_knows() -> None:
    schema = json.loads((TOP / "tests/fixtures/compose/compose-spec.json").read_text())
    validator = jsonschema_rs.Draft202012Validator(schema)
    document = yaml.safe_load((TOP / "docker-compose.yml").read_text())
    assert [error.message for error in validator.iter_errors(document)] == []
    document["services"]["conductor-loop"]["reed_only"] = True
    assert not validator.is_valid(document)


def test_the_lines_of_the_original_s_compose_file_are_all_there() -> None:
    assert COMPOSE["volumes"] == ["./handoff:/handoff", "./output:/output"]
    assert COMPOSE["environment"] == ["CONDUCTOR_LOG_LEVEL=info"]
    assert COMPOSE["command"] == SEED_COMMAND


def test_compose_hardens_and_leaves_time_to_end() -> None:
    assert COMPOSE["read_only"] is True
    assert COMPOSE["cap_drop"] == ["ALL"]
    assert COMPOSE["security_opt"] == ["no-new-privileges:true"]
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) > 10 + 5 + 5
    assert COMPOSE["user"].endswith(":-65534:65534}")


class Container:
    """The image's layout on this machine, with folders of ours mounted into it."""

    def __init__(self, top: Path) -> None:
        self.handoff, self.out = top / "handoff", top / "out"
        for folder in (self.handoff, self.out):
            folder.mkdir()
        self._commands = top / "bin"
        self._commands.mkdir()
        for name, script in (
            ("conductor-loop", "conductor-loop"),
            ("conductor-porch", "conductor-porch"),
            ("porch", "conductor-porch"),
        ):
            shutil.copy(Path(sys.executable).with_name(script), self._commands / name)
        self.mounts = {"/handoff": self.handoff, "/out": self.out}
        """Folders of ours, by where they are seen."""
        self.variables: dict[str, str] = {}
        self.health = IMAGE.words("HEALTHCHECK")
        self.log_file = top / "log"

    def words(self, *command: str) -> list[str]:
        """How bubblewrap is told all of it."""
        user, group = IMAGE.last("USER").split(":")
        shown = {**IMAGE.environment(), "PATH": "/image/bin:/usr/bin:/bin", **self.variables}
        # Entry by entry, so that a folder can be mounted among them.
        settings = [f"/etc/{name}" for name in os.listdir("/etc")]
        environment = [word for pair in shown.items() for word in ("--setenv", *pair)]
        own = [str(p) for p in {TOP, Path(sys.prefix), Path(sys.base_prefix)}]
        return [
            "bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
            "--uid", user, "--gid", group, "--as-pid-1", "--die-with-parent", "--clearenv",
            *environment,
            *("--ro-bind", "/usr", "/usr", "--tmpfs", "/etc"),
            *(word for path in settings for word in ("--ro-bind-try", path, path)),
            *(w for name in ("bin", "sbin", "lib", "lib64") if Path("/", name).exists()
              for w in ("--ro-bind", f"/{name}", f"/{name}")),
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
            *(w for at, path in self.mounts.items() for w in ("--bind", str(path), at)),
            *(word for path in own for word in ("--ro-bind", path, path)),
            "--ro-bind", str(self._commands), "/image/bin",
            "--remount-ro", "/etc",
            "--remount-ro", "/", "--chdir", IMAGE.last("WORKDIR"),
            *command,
        ]  # fmt: skip

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return subprocess.run(
            self.words(*command), capture_output=True, text=True, timeout=PATIENCE
        )

    @contextlib.contextmanager
    def started(self, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
        """The entry point, as process 1."""
        words = self.words(*IMAGE.words("ENTRYPOINT"), *flags)
        with self.log_file.open("wb") as log:
            running = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: self.is_healthy() or running.poll() is not None, "it is healthy")
            assert running.poll() is None, self.log_file.read_text()
            yield running
        finally:
            running.kill()
            running.wait()

    def is_healthy(self) -> bool:
        """What the engine asks."""
        return self.run(*self.health).returncode == 0

    def verdict(self, name: str) -> dict[str, object]:
        """Wait for a verdict."""
        path = self.handoff / "status" / f"{name}.status"
        wait_until(path.exists, f"a verdict; the log says {self.log_file.read_text()}")
        return dict(json.loads(path.read_text()))


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def main_process(bwrap: int) -> int:
    """The process that is number 1 in there, by the number it has out here."""
    children = Path(f"/proc/{bwrap}/task/{bwrap}/children").read_text().split()
    return int(children[0])


@pytest.mark.needs("bwrap")
def test_without_a_word_it_serves_handoff_and_writes_to_out_by_conductor_porch(
    container: Container,
) -> None:
    (container.handoff / "intent-a.json").write_bytes(intent())
    with container.started():
        verdict = container.verdict("intent-a.json")
    assert verdict["status"] == "success"
    assert verdict["porch_path"] == "porch"
    assert (container.out / "oran-sim/amf").is_dir()


@pytest.mark.needs("bwrap")
def test_the_original_s_compose_command_works_word_for_word(container: Container) -> None:
    (container.handoff / "intent-a.json").write_bytes(intent())
    container.mounts = {"/handoff": container.handoff, "/output": container.out}
    with container.started(*SEED_COMMAND):
        verdict = container.verdict("intent-a.json")
    assert (verdict["status"], verdict["mode"]) == ("success", "structured")
    assert (container.out / "oran-sim/amf/Kptfile").exists()


def test_any_user_may_write_to_each_folder_that_the_pages_mount() -> None:
    (made,) = (run for run in IMAGE.all_of("RUN") if "install -d" in run)
    folders = made.split("install -d -m 1777 ")[1].split()
    page = (TOP / "docs/docker.md").read_text()
    mounted = set(re.findall(r"-v \S+?:(/[a-z]+)(?=[ `])", page))
    assert mounted == {*folders} == {"/handoff", "/out", "/state"}


@pytest.mark.needs("bwrap")
def test_the_health_check_asks_the_daemon_whose_state_is_in_a_volume(container: Container) -> None:
    (variable,) = re.findall(
        r"-v loop-state:/state -e (\S+=/state)", (TOP / "docs/docker.md").read_text()
    )
    container.variables = dict([variable.split("=")])
    container.mounts["/state"] = container.out.with_name("state")
    container.mounts["/state"].mkdir()
    with container.started():
        assert container.is_healthy()
    assert (container.mounts["/state"] / "journal.db").exists()


@pytest.mark.needs("bwrap")
def test_as_process_1_it_ends_in_order_when_the_engine_stops_it(container: Container) -> None:
    with container.started() as running:
        os.kill(main_process(running.pid), signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
    assert "stopping on SIGTERM" in container.log_file.read_text()


@pytest.mark.needs("bwrap")
def test_nothing_of_the_root_can_be_written(container: Container) -> None:
    tried = container.run("touch", "/etc/x", "/usr/x", "/x", "/image/bin/x")
    assert tried.stderr.count("Read-only file system") == 4
    assert container.run("touch", "/out/x", "/tmp/x", "/handoff/x").returncode == 0


@pytest.mark.needs("bwrap")
def test_packages_that_cannot_be_written_stop_the_start_and_name_the_remedy(
    container: Container,
) -> None:
    refused = container.run(*IMAGE.words("ENTRYPOINT"), "-out", "/usr")
    assert refused.returncode == 1
    assert "/usr may not be written by uid 65534" in refused.stderr
    assert "(container: " in refused.stderr
    assert "--user" in refused.stderr
