"""The real command in a folder of its own: hand over, wait for conditions, signal, ask, read."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conductor_loop.adapters.control_socket import DaemonSilent, ask
from conductor_loop.adapters.journal import open_reader
from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.core.control import Health, Pause, Request, Resume
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.states import FINAL, State

COMMAND = [sys.executable, "-m", "conductor_loop"]
PATIENCE = 60.0
"""Seconds after which something that should happen counts as never happening."""
QUICK = ("-porch", "builtin", "-debounce", "10ms", "-period", "200ms", "-retry-backoff", "10ms")
"""What most tests want; of a flag given twice the last counts."""
Verdict = dict[str, Any]
LogLine = dict[str, Any]


def intent(target: str = "amf", replicas: int = 1, **more: object) -> bytes:
    """Write a scaling intent; `more` adds fields or replaces them."""
    document = {
        "intent_type": "scaling",
        "target": target,
        "namespace": "oran-sim",
        "replicas": replicas,
        **more,
    }
    return json.dumps(document).encode()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something to become true; fails after a generous deadline."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        assert began < deadline, f"waited in vain: {what}"
        # A costly look is repeated less often: it takes its time from the one that is waited for.
        time.sleep(max(0.01, 5 * (time.monotonic() - began)))


class Daemon:
    """A `conductor-loop` that watches, as a child of ours."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self._process = process
        self._log_file = log_file

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal and go on."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; its exit status, negative when a signal ended it."""
        return self._process.wait(PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait; its exit status."""
        self.send(number)
        return self.ended()

    def kill(self) -> None:
        """End it without warning."""
        self._process.kill()
        self._process.wait()

    def log(self) -> list[LogLine]:
        """Everything it logged so far."""
        lines = self._log_file.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def messages(self) -> list[str]:
        """The messages it logged so far."""
        return [line["message"] for line in self.log()]

    def has_said(self, words: str) -> bool:
        """Whether a message with these words in it was logged."""
        return any(words in message for message in self.messages())

    def resident_kilobytes(self) -> int:
        """The most memory it ever had at once, in KiB (VmHWM of proc(5))."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:", 1)[1].split()[0])


class Site:
    """A working folder with `handoff` and `out` in it, and the commands that are typed there."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.handoff = top / "handoff"
        self.out = top / "out"
        self.state = self.handoff / ".conductor"
        self.environment = {
            name: text for name, text in os.environ.items() if not name.startswith("CONDUCTOR_")
        }
        """What commands get; a test may change it."""
        # Porches of tests keep their books beside themselves.
        self.environment["CONDUCTOR_CHILD_WRITE"] = os.fspath(top)
        self.before: list[str] = []
        """Words before every command, e.g. to run it as another user."""
        self.flags: tuple[str, ...] = QUICK
        """Flags of every `run`, before those of the test."""
        self._daemons = 0
        self._staged = 0

    def command(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Type a command and wait for its end."""
        done = subprocess.run(
            [*self.before, *COMMAND, *words],
            cwd=self.top,
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=PATIENCE,
        )
        assert b"Traceback" not in done.stdout + done.stderr
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def once(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Work through what is there."""
        return self.command(*self.flags, "-once", *flags)

    def asked(self, *words: str) -> Any:
        """Type a command with `--json` and read what it prints."""
        done = self.command(*words, "--json")
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def daemon(self, *flags: str, ready: bool = True) -> Iterator[Daemon]:
        """Run a daemon, which is ready when the block begins unless that is not waited for.

        One that still runs at the end of the block must end in order.
        """
        self._daemons += 1
        log_file = self.top / f"daemon-{self._daemons}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [*self.before, *COMMAND, *self.flags, *flags],
                cwd=self.top,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        daemon = Daemon(process, log_file)
        try:
            if ready:
                wait_until(lambda: self.is_ready(daemon), "the daemon is ready")
            yield daemon
            assert not daemon.is_alive or daemon.stop() == 0, log_file.read_text()
            assert "Traceback" not in log_file.read_text()
        finally:
            daemon.kill()

    def is_ready(self, daemon: Daemon) -> bool:
        """Whether this very daemon takes files."""
        assert daemon.is_alive, f"the daemon ended: {daemon.log()}"
        with contextlib.suppress(DaemonSilent):
            reply = ask(self.state, Health())
            return reply is not None and reply.checks[0].ok and reply.pid == daemon.pid
        return False

    def is_healthy(self) -> bool:
        """Whether a daemon answers that everything holds."""
        reply = ask(self.state, Health())
        return reply is not None and all(check.ok for check in reply.checks)

    def pause(self) -> None:
        """Have the running daemon start nothing any more."""
        self._steer(Pause(why="a test"))

    def resume(self) -> None:
        """Have the running daemon go on."""
        self._steer(Resume())

    def _steer(self, request: Request) -> None:
        reply = ask(self.state, request)
        assert reply is not None
        assert not reply.refusals

    def porch(self, script: str, name: str = "porch") -> str:
        """Make a porch of shell lines; `$top`, `$name` and `$out` are set. Returns its path."""
        path = self.top / name
        path.write_text(f"#!/bin/sh\ntop=${{0%/*}} name=${{2##*/}} out=$4\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def ledger(self) -> list[str]:
        """The lines that porches appended to `$top/ledger`."""
        path = self.top / "ledger"
        return path.read_text().splitlines() if path.exists() else []

    def hand_over(self, name: str | bytes, body: bytes) -> None:
        """Hand over by rename, which makes the file complete at once."""
        self._staged += 1
        staged = self.top / f"staged-{self._staged}"
        staged.write_bytes(body)
        os.rename(staged, os.path.join(os.fsencode(self.handoff), os.fsencode(name)))

    def hand_over_all(self, files: Mapping[str, bytes]) -> None:
        """Hand over several, in order, making the folder if need be."""
        self.handoff.mkdir(exist_ok=True)
        for name, body in files.items():
            self.hand_over(name, body)

    def names_in(self, folder: str) -> list[str]:
        """What is in a folder of the handoff folder, sorted."""
        path = self.handoff / folder
        return sorted(os.listdir(path)) if path.exists() else []

    def verdict_path(self, name: str) -> Path:
        """Where the verdict of a name stands."""
        return self.handoff / "status" / f"{name}.status"

    def verdict(self, name: str) -> Verdict:
        """Wait for the verdict of a name and read it."""
        path = self.verdict_path(name)
        wait_until(path.exists, f"the verdict of {name}")
        return dict(json.loads(path.read_bytes()))

    def verdicts(self, *names: str) -> list[Verdict]:
        """Wait for the verdicts of several names."""
        return [self.verdict(name) for name in names]

    @contextlib.contextmanager
    def journal(self) -> Iterator[JournalReader]:
        """Open the journal for questions."""
        reader = open_reader(self.state)
        try:
            yield reader
        finally:
            reader.close()

    def counts(self) -> Counter[State]:
        """How many intents stand in each state."""
        try:
            with self.journal() as reader:
                return Counter(reader.counts())
        except CannotStart:
            return Counter()

    def events(self, name: str) -> list[str]:
        """What happened to the newest intent of a name, oldest first."""
        with self.journal() as reader:
            intent_id = self.intent_id(name)
            return [type(entry.event).__name__ for entry in reader.history(intent_id)]

    def intent_id(self, name: str) -> str:
        """The id of the newest intent of a name, once there is one."""
        found: list[str] = []

        def is_known() -> bool:
            with contextlib.suppress(CannotStart), self.journal() as reader:
                found.extend(each.intent_id for each in reader.summaries_of(name.encode())[:1])
            return bool(found)

        wait_until(is_known, f"the journal knows {name}")
        return found[0]

    def wait_for_state(self, name: str, state: State) -> None:
        """Wait until the newest intent of a name stands there."""
        intent_id = self.intent_id(name)
        with self.journal() as reader:
            wait_until(lambda: reader.state(intent_id) is state, f"{name} is {state.value}")

    def wait_for_final(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until so many intents are final, none is unfinished, and the views say so."""
        wait_until(lambda: self._is_final(count), f"{count} intents are final", seconds)

    def _is_final(self, count: int) -> bool:
        with contextlib.suppress(CannotStart), self.journal() as reader:
            counts = reader.counts()
            unfinished = set(counts) - FINAL
            is_in_line = reader.position() == reader.last_seq()
            return not unfinished and is_in_line and sum(counts.values()) >= count
        return False


def statuses(verdicts: Sequence[Verdict]) -> Counter[str]:
    """How many verdicts tell each status."""
    return Counter(verdict["status"] for verdict in verdicts)
