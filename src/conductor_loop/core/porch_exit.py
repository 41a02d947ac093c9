"""What the end of a porch command means, by the table of the contract (exit codes of porch)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from conductor_loop.core.durations import format_duration
from conductor_loop.core.events import Failure, FailureKind

# Other clients change packages too; who was late tries again (kptdev/kpt issue 4058).
_CONFLICT = "object has been modified"
_LONGEST_REMARK = 200


@dataclass(frozen=True, slots=True)
class PorchExit:
    """How one run ended; output already cleaned. Either `code` or `signal` is None."""

    code: int | None
    signal: int | None
    timed_out: bool
    """Whether our own deadline ended it, whatever it answered to that."""
    deadline: timedelta
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class _Meaning:
    kind: FailureKind
    code: str
    message: str
    hint: str


_TEMPORARY, _ENVIRONMENT = FailureKind.TEMPORARY, FailureKind.ENVIRONMENT
_CORRECT = "correct the intent and hand it over again; what porch printed says more"
_UNUSABLE = "porch_unusable"
_MEANINGS = {
    1: _Meaning(
        FailureKind.PERMANENT, "porch_invalid_intent", "porch found the intent invalid", _CORRECT
    ),
    2: _Meaning(
        FailureKind.PERMANENT,
        "porch_target_not_found",
        "porch did not find the target",
        "check target and namespace, or create the target first; then hand it over again",
    ),
    3: _Meaning(
        _TEMPORARY,
        "porch_not_permitted",
        "porch was not permitted to do it",
        "check the credentials that porch is given and what they allow",
    ),
    4: _Meaning(
        _TEMPORARY,
        "porch_network",
        "porch could not reach what it needs",
        "check the network between here and the Porch server or repository",
    ),
    5: _Meaning(
        _TEMPORARY,
        "porch_quota",
        "porch ran into a quota",
        "raise the quota, or wait until there is room",
    ),
    75: _Meaning(
        _TEMPORARY,
        "porch_temporary",
        "porch asked to be tried again later",
        "what porch printed says more",
    ),
    124: _Meaning(
        FailureKind.TIMEOUT,
        "porch_timeout",
        "porch gave up on time",
        "what porch printed says what it waited for",
    ),
    125: _Meaning(
        _ENVIRONMENT,
        _UNUSABLE,
        "the wrapper around porch failed",
        "run the porch command by hand",
    ),
    126: _Meaning(
        _ENVIRONMENT,
        _UNUSABLE,
        "porch, or a command that it calls, may not be executed",
        "check modes and mount options, then run the porch command by hand",
    ),
    127: _Meaning(
        _ENVIRONMENT,
        _UNUSABLE,
        "a command that porch calls was not found",
        "check PATH, which porch gets from the daemon, then run the porch command by hand",
    ),
}
_OTHER = _Meaning(FailureKind.PERMANENT, "porch_failed", "porch failed", _CORRECT)
_OVERTAKEN = _Meaning(
    _TEMPORARY,
    "porch_conflict",
    "somebody else changed the object at the same time",
    "it is tried again by itself",
)
# What the C library, shells, Go and Python say when the system refuses them something, in lower
# case; and the setting that bounds it.
_LIMITS = (
    ("child.files", ("too many open files",)),
    ("child.file-size", ("file too large", "file size limit exceeded")),
    (
        "child.processes",
        (
            "cannot fork",
            "fork: retry",
            "fork: resource temporarily unavailable",
            "failed to create new os thread",
            "can't start new thread",
            "[errno 11] resource temporarily unavailable",
        ),
    ),
    ("child.memory", ("cannot allocate memory", "memoryerror", "out of memory", "bad_alloc")),
)
_LIMIT_SIGNALS = {24: "child.cpu", 25: "child.file-size"}
_OF_LIMIT = {
    "child.files": "open files",
    "child.file-size": "the size of a file",
    "child.processes": "processes",
    "child.memory": "memory",
    "child.cpu": "CPU time",
}
# The same numbers on every Linux architecture but MIPS and Alpha (signal(7)).
_SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}


def failure_of(porch: PorchExit) -> Failure | None:
    """Judge the end of a run; None means that porch did what was asked."""
    if porch.timed_out:
        return _failure(porch, _late(porch.deadline))
    if porch.signal in _LIMIT_SIGNALS:
        return _failure(porch, _limited(FailureKind.CRASHED, _LIMIT_SIGNALS[porch.signal]))
    if porch.signal is None and not porch.code:
        return None
    if setting := _limit_named(porch.stderr.lower()):
        kind = _TEMPORARY if porch.signal is None else FailureKind.CRASHED
        return _failure(porch, _limited(kind, setting))
    if porch.signal is not None:
        return _failure(porch, _crash(porch.signal))
    if porch.code == 1 and _CONFLICT in porch.stderr + porch.stdout:
        return _failure(porch, _OVERTAKEN)
    return _failure(porch, _MEANINGS.get(porch.code or 0, _OTHER))


def not_started(path: str, reason: str) -> Failure:
    """The system refused to start porch: nobody's intent is at fault."""
    return Failure(
        kind=FailureKind.ENVIRONMENT,
        code="porch_cannot_start",
        message=f"porch cannot be started: {path}: {reason}",
        hint="check that file and, for a script, the interpreter in its first line; nothing is "
        "lost, the queue goes on by itself",
    )


def no_spawner(reason: str) -> Failure:
    """The process that starts porch cannot be had: nobody's intent is at fault."""
    return Failure(
        kind=FailureKind.ENVIRONMENT,
        code="spawner_cannot_start",
        message=f"the process that starts porch cannot be started: {reason.partition(chr(10))[0]}",
        hint="look at the limits on memory and processes (ulimit -a), and at the log; nothing is "
        "lost, the queue goes on by itself",
    )


def _late(deadline: timedelta) -> _Meaning:
    return _Meaning(
        FailureKind.TIMEOUT,
        "porch_timeout",
        f"porch did not end within {format_duration(deadline)} and was stopped",
        "find out what it waits for; -timeout, or the intent's own, gives it longer",
    )


def _limit_named(stderr: str) -> str:
    """The setting of the limit that porch complains about, if it does."""
    return next((name for name, words in _LIMITS if any(w in stderr for w in words)), "")


def _limited(kind: FailureKind, setting: str) -> _Meaning:
    return _Meaning(
        kind,
        "porch_limit",
        f"porch met the limit on {_OF_LIMIT[setting]}",
        f"if it needs more, raise {setting}; else find out why it takes so much",
    )


def _crash(number: int) -> _Meaning:
    name = _SIGNALS.get(number)
    said = f"{name} (signal {number})" if name else f"signal {number}"
    hint = "porch itself is at fault; what it printed may say more"
    if name == "SIGKILL":
        hint = "often the kernel, out of memory: see dmesg and the memory limit"
    return _Meaning(FailureKind.CRASHED, "porch_crashed", f"porch was killed by {said}", hint)


def _failure(porch: PorchExit, meaning: _Meaning) -> Failure:
    exited = f" (exit {porch.code})" if porch.code and not porch.timed_out else ""
    return Failure(
        kind=meaning.kind,
        code=meaning.code,
        message=meaning.message + exited + _remark(porch.stderr),
        hint=meaning.hint,
        exit_code=porch.code,
        signal=porch.signal,
        stdout=porch.stdout,
        stderr=porch.stderr,
    )


def _remark(stderr: str) -> str:
    """The last line that porch printed as an error, which is where programs say why."""
    last = stderr.rstrip().rpartition("\n")[2].strip()
    if len(last) > _LONGEST_REMARK:
        last = last[:_LONGEST_REMARK] + "…"
    return f": {last}" if last else ""
