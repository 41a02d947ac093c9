"""What is measured on: the machine's facts, its raw spawn rate, a process's memory and time."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent
SPAWNS = 8_000


class CannotMeasure(Exception):
    """A row has no figure, and why."""


def compile_program(name: str, folder: Path) -> Path:
    """Compile `bench/NAME.c`, statically: no loader in the figures. Raises CannotMeasure."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotMeasure("no C compiler (cc) to build the no-op porch with")
    program = folder / name
    command = [compiler, "-O2", "-static", "-o", str(program), str(SOURCES / f"{name}.c")]
    compiled = subprocess.run(command, capture_output=True, text=True)
    if compiled.returncode:
        raise CannotMeasure(f"cc failed: {compiled.stderr.strip().splitlines()[-1]}")
    return program


def spawn_rate(folder: Path, porch: Path) -> float:
    """Spawns a second of this porch, two at a time, from a tight C loop."""
    loop = folder / "spawn_rate"
    if not loop.exists():
        compile_program("spawn_rate", folder)
    command = [str(loop), str(SPAWNS), str(porch), "-intent", "intent.json", "-out", "out"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def facts(folder: Path) -> dict[str, str | int | float]:
    """Say what a figure depends on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": _output("stat", "-f", "-c", "%T", str(folder)),
        "commit": _output("git", "-C", str(SOURCES), "describe", "--always", "--dirty"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a daemon and everything it started."""

    daemon_rss: int
    daemon_peak: int
    all_pss: int
    """Each shared page counted once, among those that share it."""

    @property
    def resident(self) -> int:
        """The less flattering of what `ps` shows for the daemon and what all take together."""
        return max(self.daemon_rss, self.all_pss)


def memory(pid: int) -> Memory:
    """Read the memory of a process and its descendants (proc(5))."""
    status = _fields(Path(f"/proc/{pid}/status"))
    pss = sum(_fields(Path(f"/proc/{each}/smaps_rollup"))["Pss"] for each in tree(pid))
    return Memory(status["VmRSS"], status["VmHWM"], pss)


def forget_peak(pid: int) -> None:
    """Let VmHWM start again from the present size (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _fields(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {words[0][:-1]: int(words[1]) * 1024 for words in pairs if words[-1] == "kB"}


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (parent := _parent(name)) is not None:
            children.setdefault(parent, []).append(int(name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _parent(pid: str) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None  # ended meanwhile
    return int(stat.rpartition(")")[2].split()[1])


def cpu_seconds(pid: int) -> float:
    """Time on a processor of a process and its descendants, to the nanosecond (schedstat)."""
    tasks = (task for each in tree(pid) for task in Path(f"/proc/{each}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
