"""From settings to a running daemon: which class stands behind each port."""

from conductor_loop.wiring.daemon import Report, run
from conductor_loop.wiring.offline import import_offline, steer_offline

__all__ = ["Report", "import_offline", "run", "steer_offline"]
