"""`python -m tests.crash`: the whole sweep and a long soak, with `--write-docs` for the record."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.campaign import campaign
from tests.crash.injection import PLAUSIBLE
from tests.crash.record import describe, write_record
from tests.crash.scene import Scene, With
from tests.crash.soak import Soak, soak
from tests.crash.survivors import adopt_orphans

KILLS = 150


def main() -> int:
    """Sweep, soak, report; 1 when anything was wrong."""
    options = _options()
    faults, publishers = options.fault or list(PLAUSIBLE), options.publisher or list(With)
    if shutil.which("strace") is None:
        print("strace is not installed")
        return 1
    with tempfile.TemporaryDirectory(prefix="conductor-crash-") as top:
        sweeps = list(campaign(Path(top), faults, publishers, options.processes))
        soaks = {} if options.no_soak else dict(_soaked(Path(top), publishers))
    print("\n" + describe(sweeps, soaks))
    if options.write_docs:
        write_record(sweeps, soaks)
    wrong = sum(len(each.wrong) for each in sweeps) + sum(len(s.wrong) for s in soaks.values())
    return int(wrong > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash", description="Kill the daemon at every call.")
    parser.add_argument("--write-docs", action="store_true", help="keep it in docs/reliability.md")
    parser.add_argument("--fault", action="append", choices=PLAUSIBLE, help="this fault only")
    parser.add_argument("--publisher", action="append", type=With, help="with this only")
    parser.add_argument("--processes", type=int, default=2, help="sweeps at a time (default 2)")
    parser.add_argument("--no-soak", action="store_true", help="leave the random kills out")
    return parser.parse_args()


def _soaked(top: Path, publishers: Sequence[With]) -> Iterator[tuple[With, Soak]]:
    adopt_orphans()
    for publisher in publishers:
        seed = time.time_ns() % 2**32
        told = soak(Scene(top / "soak" / publisher.name, publisher), KILLS, seed)
        print(
            f"soak, {publisher}, seed {seed}: {told.kills} kills, {told.ledger.total()} intents,"
            f" {len(told.wrong)} wrong",
            *told.wrong,
            sep="\n  ",
            flush=True,
        )
        yield publisher, told


if __name__ == "__main__":
    sys.exit(main())
