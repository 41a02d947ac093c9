"""Print what a child is started with, as JSON."""

import contextlib
import json
import os
import sys

# Python ignores SIGPIPE and SIGXFSZ when it starts, glibc's posix_spawn its own two, 32 and 33.
NOT_OURS = sum(1 << (number - 1) for number in (13, 25, 32, 33))


def is_open(descriptor: int) -> bool:
    """Whether it is more than the one that the listing itself used."""
    with contextlib.suppress(OSError):
        os.fstat(descriptor)
        return True
    return False


def status(word: str) -> int:
    """A mask of signals, as the kernel knows it."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":\t", 1) for line in file)
    return int(lines[word], 16)


print(
    json.dumps(
        {
            "descriptors": [d for d in map(int, os.listdir("/proc/self/fd")) if is_open(d)],
            "stdin": os.readlink("/proc/self/fd/0"),
            "blocked": status("SigBlk"),
            "ignored": status("SigIgn") & ~NOT_OURS,
            "leads_session": os.getsid(0) == os.getpid(),
            "environment": {os.fsdecode(k): os.fsdecode(v) for k, v in os.environb.items()},
            "arguments": sys.argv[1:],
        }
    )
)
