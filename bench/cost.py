"""`cost.py FILE FLAGS...`: the real command, with clocks around what signs and what audits.

Runs as a program of its own; FILE gets the CPU seconds of its process, and of each, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

# Beside this file; the command's own modules are installed.
sys.path.append(os.fspath(Path(__file__).resolve().parents[1]))

from bench.meter import Meter
from conductor_loop.adapters.keys.store import Keys
from conductor_loop.cli.main import main
from conductor_loop.projections import verdicts
from conductor_loop.projections.audit.log import AuditLog

AUDIT = ("apply", "note", "open_with", "close", "seq_of")


def run(file: str, flags: list[str]) -> int:
    """Run the command and write what it cost; its exit status."""
    meter = Meter(time.thread_time_ns)
    for name in AUDIT:
        meter.clock(AuditLog, name, "audit")
    meter.clock(verdicts, "signed_verdict", "verdicts")
    meter.clock(Keys, "sign", "signature")
    # Opened before root is left behind and Landlock closes everything else.
    with open(file, "w", encoding="ascii") as out:
        status = main(flags)
        used = resource.getrusage(resource.RUSAGE_SELF)
        document = {
            "process": used.ru_utime + used.ru_stime,
            "seconds": {label: spent / 1e9 for label, spent in meter.nanoseconds.items()},
            "calls": dict(meter.calls),
        }
        json.dump(document, out)
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
