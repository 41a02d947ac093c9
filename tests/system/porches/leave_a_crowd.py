"""Leave many descendants in sessions of their own, each of which forks once more; then exit.

Arguments: a file for their process numbers, how many.
"""

import os
import sys
import time

mark, count = sys.argv[1], int(sys.argv[2])
book = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for _ in range(count):
    if os.fork() == 0:
        os.setsid()
        os.fork()
        os.write(book, b"%d\n" % os.getpid())
        time.sleep(600)
        os._exit(0)
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    with open(mark) as file:
        if len(file.readlines()) >= 2 * count:
            break
