"""Go on for ever as a chain of processes, each of which forks the next and exits.

Argument: a file for the number of the process in the chain. The first exits when it is past 10.
"""

import os
import sys

book = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
if os.fork() == 0:
    os.setsid()
    number = 0
    while True:
        number += 1
        os.pwrite(book, b"%d" % number, 0)
        if os.fork():
            os._exit(0)
while int(os.pread(book, 20, 0) or b"0") < 20:
    pass
