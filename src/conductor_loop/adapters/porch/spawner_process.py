"""How the spawner's process begins, twice: first to become fit to hold children, then to serve.

It stays as light as `spawner.py`, for the same reason.
"""

from __future__ import annotations

import os
import sys

from conductor_loop.adapters.porch.runs import message
from conductor_loop.adapters.porch.spawner import CONNECTION, Spawner
from conductor_loop.adapters.sandbox import confinement

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # as in `spawner.py`

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def command(folder: str, step: str, workers: str, words: list[str]) -> list[str]:
    """The command line of this program; `folder` is where the package `conductor_loop` lies.

    `words` are those of a `Confinement` for `prepare`, and for `serve` the layer and the limits.
    """
    # An import takes the compiled file, a script would be compiled anew: 1 MB of resident memory.
    start = f"import sys; sys.path.append(sys.argv[1]); from {__name__} import main; main()"
    return [sys.executable, "-I", "-S", "-c", start, folder, step, workers, *words]


def main() -> None:
    """Run as a program: `prepare` first, which leads to `serve`; the socket is descriptor 3."""
    if sys.argv[2] == "prepare":
        _prepare()
    if sys.argv[4] == confinement.NONE:
        confinement.pass_no_capability_on()
    os.set_inheritable(CONNECTION, False)  # noqa: FBT003 - it takes no keyword
    spawner = Spawner(int(sys.argv[3]), sys.argv[4], sys.argv[5:])
    try:
        spawner.serve()
    except Exception:  # noqa: BLE001 - the daemon puts it in its log and starts another
        import traceback

        os.set_blocking(CONNECTION, True)
        broken = message(b"broken", traceback.format_exc().encode())
        os.write(CONNECTION, spawner.outgoing + broken)
        sys.exit(os.EX_SOFTWARE)


def _prepare() -> None:
    """Become fit to hold children, then begin again as `serve` without the modules this took.

    All that is done here outlives an exec. Confinement goes last.
    """
    os.closerange(CONNECTION + 1, max(os.sysconf("SC_OPEN_MAX"), 1024))
    # A terminal or a service manager tells the daemon, which ends us by closing the connection.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    layer = confinement.obey(sys.argv[4:], int(sys.argv[3]))
    limits = [word for word in sys.argv[4:] if word.startswith("limit:")]
    os.execv(sys.executable, command(sys.argv[1], "serve", sys.argv[3], [layer, *limits]))
