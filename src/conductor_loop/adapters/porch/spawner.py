"""The spawner: a small program of its own that starts children, bounds them and ends them.

It knows nothing of intents. The daemon's side is `children.py`, and `spawner_process.py` is how
its process begins. It lives as long as the daemon does, so it imports next to nothing. Why it
exists: docs/decisions/0002-spawner-process.md.
"""

from __future__ import annotations

import errno
import os
import select
import time

from conductor_loop.adapters.porch import proc
from conductor_loop.adapters.porch.runs import FOLDER_VARIABLE, Run, Stream, message, messages
from conductor_loop.adapters.sandbox import confinement

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator
else:
    # The C half of `signal`: the enums of the public half cost 0.8 MB of resident memory.
    import _signal as signal

CONNECTION = 3
"""The descriptor under which the program finds its socket."""

_CHUNK = 64 * 1024
# Up to about here it is cheaper to look at each number than to list /proc.
_FEW_NUMBERS = 128
# In less than this, process numbers cannot have gone once round (32,768 at the least, pid_max).
_SHORT_NANOSECONDS = 1_000_000_000
# A process that outlives SIGKILL so long hangs inside the kernel and runs no code of its own.
_STUBBORN_SECONDS = 2.0
# poll takes no more than 2^31 - 1 milliseconds: a deadline may be weeks away.
_LONGEST_SECONDS = 3600.0
# A death wakes us; this is for what changes without one.
_RECHECK_SECONDS = 0.1
# Answers are sent together while the daemon has given so much to do ahead, for so long at most:
# each time that it is woken costs it more than the answer itself.
_PLENTY = 8
_HELD_SECONDS = 0.005
# Real-time signals are left out: nobody ignores them, and each costs the child a system call.
_SIGNALS = tuple(n for n in range(1, 32) if n not in (signal.SIGKILL, signal.SIGSTOP))


class Spawner:
    """Runs at most `workers` children at once, the rest in order, each to its very end."""

    def __init__(self, workers: int, layer: str, limits: list[str]) -> None:
        self.layer = layer.encode()
        self.limit = confinement.limiter(limits)
        self.free = set(range(workers))
        self.waiting: dict[int, Run] = {}
        self.running: dict[int, Run] = {}
        self.ended: list[Run] = []
        self.streams: dict[int, Stream] = {}
        self.doomed: dict[int, float] = {}
        self.childless = True
        self.connected = True
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.flush_at = 0.0
        """When what is held back goes out at the latest; 0: nothing is."""
        self.us = os.getpid()
        self.null = os.open(os.devnull, os.O_RDONLY)
        self.wakeup = _readable_when_a_child_dies()
        os.set_blocking(CONNECTION, False)
        self.poll = select.poll()
        self.poll.register(self.wakeup, select.POLLIN)
        self.poll.register(CONNECTION, select.POLLIN)

    def serve(self) -> None:
        """Work until the daemon is gone and nothing that ran for it is left."""
        self.outgoing += message(b"ready " + self.layer)
        self._flush()
        while self.connected or self.running or self.ended:
            for descriptor, _ in self.poll.poll(self._patience()):
                self._attend(descriptor)
            self._enforce_deadlines()
            self._release()
            self._flush()
            self._start_waiting()
            self._flush()

    def _patience(self) -> float | None:
        """How long there is nothing to do unless something happens, in milliseconds."""
        moments = [run.deadline for run in self.running.values() if run.deadline is not None]
        if self.ended:
            moments.append(time.monotonic() + _RECHECK_SECONDS)
        if self.flush_at:
            moments.append(self.flush_at)
        if not moments:
            return None
        return min(max(0.0, min(moments) - time.monotonic()), _LONGEST_SECONDS) * 1000 + 1

    def _attend(self, descriptor: int) -> None:
        if descriptor == self.wakeup:
            os.read(self.wakeup, _CHUNK)
            self._reap()
        elif descriptor == CONNECTION:
            self._receive()
        elif descriptor in self.streams and self.streams[descriptor].read() == 0:
            self._close(self.streams[descriptor])

    # What the daemon says, and what it hears.

    def _receive(self) -> None:
        try:
            data = os.read(CONNECTION, _CHUNK)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._end_everything()
            return
        self.incoming += data
        for words, payload in messages(self.incoming):
            if words[0] == b"run":
                run = Run(words, payload)
                self.waiting[run.number] = run
            elif words[0] == b"recall":
                self._recall()
            else:
                self._stop(int(words[1]))

    def _flush(self) -> None:
        """Hand over what the socket takes now; the rest follows when it can take more."""
        if not self.outgoing or not self.connected or self._holds_back():
            return
        try:
            del self.outgoing[: os.write(CONNECTION, self.outgoing)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._end_everything()
            return
        self.poll.modify(CONNECTION, select.POLLIN | (select.POLLOUT if self.outgoing else 0))

    def _holds_back(self) -> bool:
        """Whether an answer can wait for the next ones."""
        now = time.monotonic()
        if len(self.waiting) >= _PLENTY:
            self.flush_at = self.flush_at or now + _HELD_SECONDS
            if now < self.flush_at:
                return True
        self.flush_at = 0.0
        return False

    def _recall(self) -> None:
        """Start nothing of what waits, and say so."""
        for number in self.waiting:
            self.outgoing += message(b"stopped %d 0" % number)
        self.waiting.clear()
        self.outgoing += message(b"recalled")

    def _stop(self, number: int) -> None:
        """End a run at once; of one whose own process has ended, what is left of it."""
        if self.waiting.pop(number, None):
            self.outgoing += message(b"stopped %d 0" % number)
        for run in self.running.values():
            if run.number == number:
                _abort(run)
        for run in self.ended:
            if run.number == number:
                run.deadline = None

    def _end_everything(self) -> None:
        """The daemon is gone: nothing of it goes on."""
        if self.connected:
            self.connected = False
            self.poll.unregister(CONNECTION)
        self.waiting.clear()
        for run in self.running.values():
            _abort(run)
        for run in self.ended:
            run.deadline = None

    # From request to start.

    def _start_waiting(self) -> None:
        while self.free and self.waiting:
            self._start(self.waiting.pop(next(iter(self.waiting))))

    def _start(self, run: Run) -> None:
        run.slot = min(self.free)
        run.started, run.began = time.time_ns(), time.monotonic_ns()
        pipes: list[int] = []
        try:
            pipes += os.pipe()
            pipes += os.pipe()
            run.pid = self._spawn(run, pipes[1], pipes[3])
            self.limit(run.pid, run.timeout)
        except OSError as error:
            for descriptor in pipes:
                os.close(descriptor)
            self.outgoing += run.refusal(error.errno or errno.EIO)
            return
        os.close(pipes[1])
        os.close(pipes[3])
        self._watch(run, pipes[0], pipes[2])

    def _spawn(self, run: Run, output: int, errors: int) -> int:
        """Start a child in a session of its own, with nothing of ours but these streams."""
        # posix_spawn cannot change the folder for the child, so the spawner itself goes there.
        os.chdir(run.environment.get(FOLDER_VARIABLE, b"/"))
        return os.posix_spawn(
            run.argv[0],
            run.argv,
            run.environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self.null, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, errors, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_SIGNALS,
        )

    def _watch(self, run: Run, output: int, errors: int) -> None:
        self.free.remove(run.slot)
        self.running[run.pid] = run
        self.childless = False
        run.deadline = run.began / 1e9 + run.timeout
        run.streams = [Stream(output), Stream(errors)]
        for stream in run.streams:
            self.streams[stream.descriptor] = stream
            self.poll.register(stream.descriptor, select.POLLIN)

    def _close(self, stream: Stream) -> None:
        del self.streams[stream.descriptor]
        self.poll.unregister(stream.descriptor)
        os.close(stream.descriptor)

    # From start to end.

    def _enforce_deadlines(self) -> None:
        """At the deadline SIGTERM to the whole tree, and SIGKILL after the grace."""
        now = time.monotonic()
        for run in (*self.running.values(), *self.ended):
            if run.deadline is None or run.deadline > now:
                continue
            if not run.timed_out:
                run.timed_out = True
                run.deadline = now + run.grace
                _terminate(run)
                continue
            run.deadline = None
            if run.pid in self.running:
                _signal(-run.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Bury every child that is dead."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if pid == 0:
                return
            run = self.running.pop(pid, None)
            if run is not None:
                self._bury(run, status)

    def _bury(self, run: Run, status: int) -> None:
        """A run's own process has ended: so must the rest of its group.

        After a deadline the rest keeps its grace: often it is the program behind a wrapper.
        """
        run.status = status
        run.duration = time.monotonic_ns() - run.began
        self.ended.append(run)
        if run.timed_out and not run.stopped and proc.newest():
            return
        run.deadline = None
        # Numbers are given out in turn: nobody else can have got this one since a moment ago.
        _signal(-run.pid, signal.SIGKILL)

    def _release(self) -> None:
        """Answer for the runs that ended, once nothing of them is alive any more."""
        if not self.ended:
            return
        unfinished = self._unfinished()
        for run in self.ended:
            if run not in unfinished:
                self._let_go(run)
        self.ended = unfinished

    def _let_go(self, run: Run) -> None:
        for stream in run.streams:
            # Whoever still holds the other end is none of ours, and not waited for.
            if self.streams.get(stream.descriptor) is stream:
                stream.drain()
                self._close(stream)
        self.free.add(run.slot)
        self.outgoing += run.answer()

    # Those who outlive the run that they belong to.

    def _unfinished(self) -> list[Run]:
        """Which runs that ended still have somebody alive; all of them while a stray dies."""
        if self.childless:
            return []
        now = time.monotonic()
        alive, strays = [], []
        for pid, session in self._adopted():
            owner = self._owner(pid, session)
            if owner is not None:
                alive.append(owner)
                continue
            strays.append(pid)
            _signal(pid, signal.SIGKILL)
        self.doomed = {pid: self.doomed.get(pid, now) for pid in strays}
        if any(now - since < _STUBBORN_SECONDS for since in self.doomed.values()):
            return self.ended
        return [run for run in self.ended if run in alive]

    def _adopted(self) -> Iterator[tuple[int, int]]:
        """Who became our child by losing a parent, each with its session."""
        for pid in self._candidates():
            if pid in self.running:
                continue
            state, parent, session = proc.status(pid)
            if parent == self.us and state != b"Z":
                yield pid, session

    def _candidates(self) -> Iterator[int]:
        """Who may descend from a run that ended: numbers are given out in turn, so later ones.

        Where they may have begun again from the bottom, or the newest is not to be believed
        (lxcfs, gVisor), everybody is looked at.
        """
        oldest, newest = min(run.pid for run in self.ended), proc.newest()
        known = max(run.pid for run in (*self.ended, *self.running.values()))
        short = max(run.duration for run in self.ended) < _SHORT_NANOSECONDS
        if short and known <= newest < oldest + _FEW_NUMBERS:
            yield from range(oldest, newest + 1)
        else:
            yield from proc.everybody()
        # Somebody may have forked and gone away while we looked elsewhere.
        for _ in range(_FEW_NUMBERS):
            seen, newest = newest, proc.newest()
            if newest <= seen:
                return
            yield from range(seen + 1, newest + 1)

    def _owner(self, pid: int, session: int) -> Run | None:
        """The run, still at work or in its grace, of a process that lost its parent."""
        runs = [*self.running.values(), *(run for run in self.ended if run.deadline is not None)]
        for run in runs:
            if run.pid == session:
                return run
        token = proc.token(pid) if runs else b""
        if token is None:
            # Between two programs a process has no environment for a moment.
            time.sleep(0.001)
            token = proc.token(pid)
        return next((run for run in runs if token and run.token == token), None)


def _readable_when_a_child_dies() -> int:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _abort(run: Run) -> None:
    run.stopped = True
    _signal(-run.pid, signal.SIGKILL)


def _terminate(run: Run) -> None:
    """Ask the group to end, and whoever left it but still carries the token."""
    _signal(-run.pid, signal.SIGTERM)
    for pid in proc.everybody():
        if pid != run.pid and run.token and proc.token(pid) == run.token:
            _signal(pid, signal.SIGTERM)


def _signal(pid: int, number: int) -> None:
    """Signal a process, or a group by its negative number; gone or out of reach is no error."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
