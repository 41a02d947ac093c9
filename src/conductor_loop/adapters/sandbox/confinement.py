"""How the spawner is told to confine itself, in words of a command line, and how it obeys.

The spawner imports this; it must stay as light as `porch/spawner.py` itself.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conductor_loop.core.sandbox import Limits

Rule = tuple[str, bytes]
"""A grant as in `landlock.GRANTS`, and an absolute path."""

NONE, JAIL = "none", "bwrap"
NO_TCP, NO_NETWORK = "no-tcp", "no-network"
# Inherited, so that a child has them from its first instruction on.
_FOR_ALL = {
    "memory": "RLIMIT_DATA",
    "file_size": "RLIMIT_FSIZE",
    "core": "RLIMIT_CORE",
    "open_files": "RLIMIT_NOFILE",
    "processes": "RLIMIT_NPROC",
}
# The spawner itself holds two pipes of each run, and a few more.
_FILES_PER_WORKER, _FILES_BESIDES = 4, 16
# Between SIGXCPU, which a program may survive to tidy up, and SIGKILL (setrlimit(2)).
_CPU_GRACE_SECONDS = 2
# Several threads may use so many times the deadline before it ends them.
_CPU_TIMES = 4


class Confinement:
    """What the spawner does to itself, and so to all that it starts."""

    def __init__(
        self,
        rules: Sequence[Rule] | None = None,
        *,
        tcp: bool = True,
        prefix: Sequence[str] = (),
        limits: Limits | None = None,
        taken: int = 0,
    ) -> None:
        """No `rules`: no Landlock. `prefix`: the words of a jail that the spawner is put into.

        `taken`: how many processes the user has already, on top of which a limit on them counts.
        """
        self.rules = rules
        self.tcp = tcp
        self.prefix = tuple(prefix)
        self._numbers = _numbers(limits, taken)

    def words(self) -> list[str]:
        """Write it down for `obey` and `limiter`."""
        numbers = [f"limit:{name}={number}" for name, number in self._numbers.items()]
        if self.prefix:
            return [*numbers, JAIL if self.tcp else f"{JAIL}+{NO_NETWORK}"]
        if self.rules is None:
            return numbers
        rules = [f"{grant}:{os.fsdecode(path)}" for grant, path in self.rules]
        return [*numbers, "landlock" if self.tcp else f"landlock+{NO_TCP}", *rules]


def _numbers(limits: Limits | None, taken: int) -> dict[str, int]:
    if limits is None:
        return {"core": 0}
    seconds = 0.0 if limits.cpu is None else limits.cpu.total_seconds()
    numbers = {
        "memory": limits.memory,
        "file_size": limits.file_size,
        "cpu": _whole(seconds) if seconds else 0,
        "cpu_times": _CPU_TIMES if limits.cpu is None else 0,
        "open_files": limits.open_files,
        "processes": limits.processes + taken if limits.processes else 0,
    }
    return {"core": 0, **{name: number for name, number in numbers.items() if number}}


def obey(words: Sequence[str], workers: int = 0) -> str:
    """Confine this process as `words` say; return the layer reached. Raises OSError."""
    from conductor_loop.adapters.sandbox import landlock

    landlock.allow_nothing_new()
    _limit_all(words, workers)
    if words and words[-1].startswith(JAIL):
        return words[-1]
    begin = next((n for n, word in enumerate(words) if word.startswith("landlock")), None)
    if begin is None:
        return NONE
    tcp = words[begin] == "landlock"
    pairs = [word.partition(":")[::2] for word in words[begin + 1 :]]
    rules = [(grant, os.fsencode(path)) for grant, path in pairs]
    version = landlock.confine(rules, tcp=tcp, scoped=True)
    return f"landlock-{version}" if tcp else f"landlock-{version}+{NO_TCP}"


def pass_no_capability_on() -> None:
    """Where nothing bounds it, a capability that this process needed is not for its children."""
    try:
        with open("/proc/self/status", "rb") as file:
            status = file.read()
    except OSError:  # no Linux, so no capabilities
        return
    ambient = status.partition(b"CapAmb:\t")[2].partition(b"\n")[0]
    if ambient.strip(b"0"):
        from conductor_loop.adapters.sandbox.capabilities import pass_none_on

        pass_none_on()


def _whole(seconds: float) -> int:
    return max(1, round(seconds))


def limiter(words: Sequence[str]) -> Callable[[int, float], None]:
    """Make what limits the CPU time of one child, right after its start.

    It takes the process number, and the seconds that the attempt has. A limit that the spawner
    had itself would end it one day: its own time never begins anew.
    """
    numbers = _limits(words)
    fixed, times = numbers.get("cpu", 0), numbers.get("cpu_times", 0)
    if not fixed and not times:
        return lambda _pid, _deadline: None
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]

    def limit(pid: int, deadline: float) -> None:
        seconds = fixed or _whole(times * deadline)
        bounds = (seconds, seconds + _CPU_GRACE_SECONDS)
        if hard >= 0:
            bounds = (min(bounds[0], hard), min(bounds[1], hard))
        try:
            resource.prlimit(pid, resource.RLIMIT_CPU, bounds)
        except (ProcessLookupError, PermissionError):  # over already
            return

    return limit


def _limit_all(words: Sequence[str], workers: int) -> None:
    import resource

    numbers = _limits(words)
    if "open_files" in numbers:
        least = _FILES_PER_WORKER * workers + _FILES_BESIDES
        numbers["open_files"] = max(numbers["open_files"], least)
    for name, number in numbers.items():
        if name in _FOR_ALL:
            code = getattr(resource, _FOR_ALL[name])
            most = resource.getrlimit(code)[1]
            bound = number if most < 0 else min(number, most)
            resource.setrlimit(code, (bound, bound))


def _limits(words: Sequence[str]) -> dict[str, int]:
    pairs = [word[6:].partition("=") for word in words if word.startswith("limit:")]
    return {name: int(number) for name, _, number in pairs}
