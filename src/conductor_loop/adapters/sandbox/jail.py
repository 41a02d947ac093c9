"""The jail: the spawner, and so porch, in namespaces of its own, made by bubblewrap (bwrap(1)).

One jail for all runs: made anew for each, it would cost more than porch itself often does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator

from conductor_loop.adapters.sandbox.confinement import Rule

_SECONDS = 10.0
LEAST = (b"/usr", b"/bin", b"/lib", b"/lib64")
"""What a program that does nothing needs."""
_BINDS = {
    "see": "--ro-bind-try",
    "read": "--ro-bind-try",
    "data": "--bind-try",
    "write": "--bind-try",
}


def command(rules: Iterable[Rule], *, network: bool) -> list[str]:
    """The words that, put before a command, run it in the jail; empty where there is no bwrap."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return []
    network_words = [] if network else ["--unshare-net"]
    return [
        bwrap,
        *("--unshare-user-try", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
        *network_words,
        *("--die-with-parent", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),  # noqa: S108
        *_mounts(rules),
        *("--chdir", "/", "--"),
    ]


def trial(words: list[str]) -> str:
    """Why a jail cannot be made here, or nothing: it is tried."""
    if not words:
        return "bwrap is not installed"
    try:
        done = subprocess.run(
            [*words, "/bin/true"], capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return "" if done.returncode == 0 else (said or [f"exit status {done.returncode}"])[-1]


def _mounts(rules: Iterable[Rule]) -> Iterator[str]:
    """What lies deeper is mounted later, and so over what it lies in; the widest grant last."""
    order = list(_BINDS)
    wanted = {
        (path, grant) for grant, path in rules if grant in _BINDS and not _is_made_by_bwrap(path)
    }
    for path, grant in sorted(wanted, key=lambda each: (each[0].count(b"/"), order.index(each[1]))):
        text = os.fsdecode(path)
        yield from (_BINDS[grant], text, text)


def _is_made_by_bwrap(path: bytes) -> bool:
    return path == b"/proc" or os.path.dirname(path) == b"/dev"
