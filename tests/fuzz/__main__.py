"""`make fuzz`: coverage-guided bytes for the reading of intents, for a minute unless told.

Arguments are libFuzzer's: ARGS=-max_total_time=600. What fails is kept in `.hypothesis/fuzz-…`;
put it into `corpus/` under a name that says what it showed, and every test run repeats it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["conductor_loop.core"]):
    from tests.fuzz.rules import hold

HERE = Path(__file__).parent
FOUND = HERE.parents[1] / ".hypothesis"


def main() -> None:
    """Fuzz until the time is over; libFuzzer ends the process, not 0 when something was found."""
    FOUND.mkdir(exist_ok=True)
    bounds = ["-max_total_time=60", "-max_len=4096", f"-artifact_prefix={FOUND}/fuzz-"]
    words = [f"-dict={HERE / 'words.dict'}"]
    with tempfile.TemporaryDirectory() as new:
        atheris.Setup(
            [sys.argv[0], *bounds, *words, *sys.argv[1:], new, str(HERE / "corpus")], hold
        )
        atheris.Fuzz()


main()
