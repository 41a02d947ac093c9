"""The row about a lost journal: how long until everything is back (the recovery time, RTO)."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pyrage  # type: ignore[import-untyped] # its stubs are a package of their own

from bench.ground import COMMAND, Ground, ground
from bench.machine import CannotMeasure
from bench.rows import Measured, Row, Setting


def recovery(setting: Setting) -> Measured:
    """Back up, lose the whole state dir, restore, start: seconds of each, and of the last two."""
    count = 1_000 if setting.quick else 10_000
    with ground(setting.parent) as place:
        place.hand_over(place.stage(0, count))
        place.settle_disk()
        place.once("-porch", "builtin")
        identity = pyrage.x25519.Identity.generate()
        key, backup = place.staging / "identity.txt", place.staging / "journal.age"
        key.write_text(f"{identity}\n")
        key.chmod(0o600)
        recipient = str(identity.to_public())
        state = place.handoff / ".conductor"
        journal = (state / "journal.db").stat().st_size
        saved = _seconds(place, "backup", backup, "--recipient", recipient, "--with-keys")
        shutil.rmtree(state)
        restored = _seconds(place, "restore", backup, "--identity", key)
        started = place.once("-porch", "builtin").seconds
        if place.verdicts() != count:
            raise CannotMeasure(f"{place.verdicts()} verdicts for {count} intents")
    return Measured(
        f"{count:,}: backup {saved:.1f} s, restore {restored:.1f} s, start {started:.1f} s"
        f" (journal {journal / 1e6:.0f} MB)",
        {
            "count": count,
            "backup_seconds": saved,
            "restore_seconds": restored,
            "start_seconds": started,
            "journal_bytes": journal,
        },
        met=None,
    )


def _seconds(place: Ground, name: str, file: Path, *flags: str | Path) -> float:
    """How long a command took. Raises CannotMeasure when it does not end with 0."""
    command = [str(COMMAND), name, str(file), "-handoff", str(place.handoff), *map(str, flags)]
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotMeasure(f"{name} ended with {done.returncode}: {done.stderr.strip()}")
    return time.monotonic() - begin


RECOVERY_ROWS = (
    Row(
        "recovery",
        "the whole state dir lost, with 10,000 finished intents",
        "no backup",
        "–",
        recovery,
    ),
)
