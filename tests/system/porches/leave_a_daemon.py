"""Become a daemon the classic way: fork, setsid, fork, close everything. Main exits at once.

Arguments: a file for the daemon's process number, then `clean` to drop its environment too.
"""

import os
import sys
import time

mark, *flags = sys.argv[1:]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        with open(f"{mark}.new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(f"{mark}.new", mark)
        if flags:
            os.execve("/bin/sleep", ["sleep", "600"], {})
        time.sleep(600)
    os._exit(0)
deadline = time.monotonic() + 30
while not os.path.exists(mark) and time.monotonic() < deadline:
    time.sleep(0.001)
