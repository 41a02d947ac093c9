"""Try what `attempts.json` beside it lists, and write into OUT what came of each attempt.

That is a list of (verb, subject). Results: `done`, or the name of the exception.
"""

import json
import os
import socket
import sys
from collections.abc import Callable


def remove(path: str) -> None:
    os.remove(path)


def write(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(b"forged")


def create(path: str) -> None:
    with open(os.path.expandvars(path), "xb") as file:
        file.write(b"forged")


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def chmod(path_and_mode: str) -> None:
    path, mode = path_and_mode.split("|")
    os.chmod(path, int(mode, 8))


def rename(paths: str) -> None:
    os.rename(*paths.split("|"))


def signal(_: str) -> None:
    """The daemon is the parent of the spawner, which is ours."""
    with open(f"/proc/{os.getppid()}/stat") as file:
        daemon = int(file.read().rpartition(")")[2].split()[1])
    os.kill(daemon, 0)


def abstract(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(f"\0{name}")


def ask(request: str) -> None:
    """Ask the daemon for something: PATH|FIRST-LINE|REQUEST, what it answers lies in OUT."""
    path, first, line = request.split("|")
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        link.sendall(f"{first}\n{line}\n".encode())
        with open(os.path.join(out, "answers"), "ab") as answers:
            answers.write(link.makefile("rb").readline())


def connect(address: str) -> None:
    host, port = address.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()


def report_folder(_: str) -> None:
    with open(os.path.join(out, "folder"), "w") as file:
        file.write(os.getcwd())


def setuid(_: str) -> None:
    os.setuid(0)


VERBS: dict[str, Callable[[str], object]] = {
    "read": read,
    "write": write,
    "create": create,
    "remove": remove,
    "list": os.scandir,
    "rename": rename,
    "chmod": chmod,
    "signal": signal,
    "abstract": abstract,
    "ask": ask,
    "connect": connect,
    "report-folder": report_folder,
    "setuid": setuid,
}

out = sys.argv[4]
with open(os.path.join(os.path.dirname(__file__), "attempts.json")) as file:
    attempts = json.load(file)
results = {}
for verb, subject in attempts:
    try:
        VERBS[verb](subject)
        results[f"{verb} {subject}"] = "done"
    except OSError as error:
        results[f"{verb} {subject}"] = type(error).__name__
with open(os.path.join(out, "tried.json"), "w") as file:
    json.dump(results, file)
with open("/proc/self/status") as status, open(os.path.join(out, "status"), "w") as copy:
    copy.write(status.read())
with open(os.path.join(out, "uids"), "w") as file:
    json.dump([os.getresuid(), os.getresgid(), os.getgroups()], file)
