"""`python -m bench`: measure, print a table in Markdown, write JSON to bench/results/."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.http_rows import HTTP_ROWS
from bench.machine import CannotMeasure, facts
from bench.recovery_rows import RECOVERY_ROWS
from bench.rows import ROWS as FIRST_ROWS
from bench.rows import SLOW, Measured, Row, Setting
from bench.trust_rows import TRUST_ROWS

RESULTS = Path("bench/results")
_VERDICTS = {True: "met", False: "missed", None: ""}
ROWS = (*FIRST_ROWS, *HTTP_ROWS, *TRUST_ROWS, *RECOVERY_ROWS)


def main() -> int:
    """Measure the rows asked for; 1 when one of them could not be measured."""
    options = _options()
    parent: Path | None = options.folder
    rows = [row for row in ROWS if _is_wanted(row, options.only, quick=options.quick)]
    with tempfile.TemporaryDirectory(prefix="conductor-bench-", dir=parent) as tools:
        Path(tools).chmod(0o755)  # a daemon of root's runs the porch as somebody else
        setting = Setting(Path(tools), parent, options.quick)
        machine = facts(Path(tools))
        print(" · ".join(f"{name} {value}" for name, value in machine.items()))
        print("\n| | the original | wanted | measured | |\n|---|---|---|---|---|", flush=True)
        results = [_measure(row, setting) for row in rows]
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    document = {"machine": machine, "quick": options.quick, "rows": results}
    file.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\n{file}")
    return int(any("failed" in result for result in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure speed and memory.")
    names = [row.name for row in ROWS]
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller numbers")
    parser.add_argument("--only", action="append", choices=names, help="this row (repeatable)")
    parser.add_argument(
        "--folder", type=Path, help="work below this folder, on the disk to measure"
    )
    return parser.parse_args()


def _is_wanted(row: Row, only: list[str] | None, *, quick: bool) -> bool:
    return row.name in only if only else not (quick and row.name in SLOW)


def _measure(row: Row, setting: Setting) -> dict[str, object]:
    began = time.monotonic()
    try:
        measured: Measured | None = row.measure(setting)
        trouble = ""
    except CannotMeasure as error:
        measured, trouble = None, str(error)
    print(f"| {row.title} | {row.original} | {row.wanted} |", end="")
    if measured is None:
        print(f" not measured: {trouble} | |", flush=True)
        return {"row": row.name, "failed": trouble}
    print(f" {measured.text} | {_VERDICTS[measured.met]} |", flush=True)
    took = round(time.monotonic() - began, 1)
    return {"row": row.name, **measured.values, "met": measured.met, "took_seconds": took}


if __name__ == "__main__":
    sys.exit(main())
