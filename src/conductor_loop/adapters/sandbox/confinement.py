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

NONE, NO_TCP, NO_NETWORK = "none", "no-tcp", "no-network"
_FOR_ALL = {"memory": "RLIMIT_DATA", "file_size": "RLIMIT_FSIZE", "core": "RLIMIT_CORE"}
# By prlimit on each child: the spawner would meet them itself.
_FOR_EACH = {"cpu": "RLIMIT_CPU", "open_files": "RLIMIT_NOFILE", "processes": "RLIMIT_NPROC"}
# Between SIGXCPU, which a program may survive to tidy up, and SIGKILL (setrlimit(2)).
_CPU_GRACE_SECONDS = 2


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
        if self.rules is None:
            return numbers
        rules = [f"{grant}:{os.fsdecode(path)}" for grant, path in self.rules]
        return [*numbers, "landlock" if self.tcp else f"landlock+{NO_TCP}", *rules]


def _numbers(limits: Limits | None, taken: int) -> dict[str, int]:
    if limits is None:
        return {"core": 0}
    seconds = limits.cpu.total_seconds()
    numbers = {
        "memory": limits.memory,
        "file_size": limits.file_size,
        "cpu": max(1, round(seconds)) if seconds else 0,
        "open_files": limits.open_files,
        "processes": limits.processes + taken if limits.processes else 0,
    }
    return {"core": 0, **{name: number for name, number in numbers.items() if number}}


def obey(words: Sequence[str]) -> str:
    """Confine this process as `words` say; return the layer reached. Raises OSError."""
    from conductor_loop.adapters.sandbox import landlock

    landlock.allow_nothing_new()
    _limit_all(words)
    begin = next((n for n, word in enumerate(words) if word.startswith("landlock")), None)
    if begin is None:
        return NONE
    tcp = words[begin] == "landlock"
    pairs = [word.partition(":")[::2] for word in words[begin + 1 :]]
    rules = [(grant, os.fsencode(path)) for grant, path in pairs]
    version = landlock.confine(rules, tcp=tcp, scoped=True)
    return f"landlock-{version}" if tcp else f"landlock-{version}+{NO_TCP}"


def limiter(words: Sequence[str]) -> Callable[[int], None]:
    """Make what limits one child, by its process number, right after its start."""
    numbers = {name: number for name, number in _limits(words).items() if name in _FOR_EACH}
    if not numbers:
        return lambda _: None
    import resource

    pairs = []
    for name, number in numbers.items():
        code = getattr(resource, _FOR_EACH[name])
        most = resource.getrlimit(code)[1]
        soft = number if most < 0 else min(number, most)
        hard = soft + _CPU_GRACE_SECONDS if name == "cpu" else soft
        pairs.append((code, (soft, hard if most < 0 else min(hard, most))))

    def limit(pid: int) -> None:
        for code, bounds in pairs:
            try:
                resource.prlimit(pid, code, bounds)
            except (ProcessLookupError, PermissionError):  # over already, or no longer ours
                return

    return limit


def _limit_all(words: Sequence[str]) -> None:
    import resource

    for name, number in _limits(words).items():
        if name in _FOR_ALL:
            code = getattr(resource, _FOR_ALL[name])
            most = resource.getrlimit(code)[1]
            bound = number if most < 0 else min(number, most)
            resource.setrlimit(code, (bound, bound))


def _limits(words: Sequence[str]) -> dict[str, int]:
    pairs = [word[6:].partition("=") for word in words if word.startswith("limit:")]
    return {name: int(number) for name, _, number in pairs}
