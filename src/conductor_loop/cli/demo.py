"""`conductor-loop demo`: the samples through the whole program, in a folder of their own."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.cli.logging_setup import configure_logging
from conductor_loop.cli.terminal import print_line, print_table
from conductor_loop.core.faults import CannotStart, UsageError
from conductor_loop.core.naming import shown
from conductor_loop.core.packages import BUILTIN
from conductor_loop.core.records import Summary
from conductor_loop.core.states import UNSUCCESSFUL
from conductor_loop.settings import LogLevel, Settings, load_settings

NAME = "demo"
HELP = (
    "Copy the samples into a folder of their own, hand them over, run them through the built-in\n"
    "publisher, and show verdicts and packages. Two samples are bad on purpose."
)
EXAMPLES = """\
conductor-loop demo
conductor-loop demo -folder /tmp/conductor-demo
"""
NAME_OF_PROGRAM = "conductor-loop"
_MARK = ".conductor-demo"
_PACKAGED = Path(__file__).parent.parent / "samples"
_IN_CHECKOUT = Path(__file__).parents[3] / "examples" / "handoff"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where."""
    parser.add_argument(
        "--folder", type=_folder, default=Path("demo"), help="made anew each time (default: ./demo)"
    )


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("a folder needs a name")
    return Path(text)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the samples; the bad ones are meant to fail, so that is no failure of the demo."""
    _refuse_folders_of_others(settings)
    folder = _fresh(args.folder)
    handoff, out = folder / "handoff", folder / "out"
    samples = sorted(_samples().glob("*.json"))
    handoff.mkdir()
    for sample in samples:  # one after the other: their order is that of the hand-over
        shutil.copyfile(sample, handoff / sample.name)
    print_line(f"{len(samples)} samples handed over in {handoff}")
    settings = replace(
        settings,
        handoff=handoff,
        out=out,
        state_dir=handoff / ".conductor",
        porch=BUILTIN,
        once=True,
        log_level=LogLevel.ERROR,
    )
    configure_logging(settings)
    from conductor_loop import wiring

    report = wiring.run(settings)
    print_line(f"done: {report.tally.describe()}")
    _show_verdicts(open_reader(settings.state_dir, settings.kek_file), handoff)
    _show_packages(out)
    _show_next_step(handoff, out)
    return 0


def _refuse_folders_of_others(settings: Settings) -> None:
    usual = load_settings((), {})
    if (settings.handoff, settings.state_dir) != (usual.handoff, usual.state_dir):
        raise UsageError(
            "the demo hands over in a folder of its own, never in yours",
            hint="leave -handoff and -state-dir out; -folder says where",
        )


def _fresh(folder: Path) -> Path:
    """Make the folder anew; only one that a demo made is ever removed."""
    if folder.exists():
        if not (folder / _MARK).is_file():
            raise CannotStart(
                f"{folder} exists and is no demo folder; nothing was touched",
                hint="give another one with -folder",
                code="demo_folder_taken",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    return folder


def _samples() -> Path:
    return _PACKAGED if _PACKAGED.is_dir() else _IN_CHECKOUT


def _show_verdicts(reader: JournalReader, handoff: Path) -> None:
    print_line()
    print_line(f"verdicts, in {handoff / 'status'}:")
    summaries = sorted(reader.summaries(limit=1000), key=lambda summary: summary.seq)
    print_table(("FILE", "VERDICT", "WHY"), [_row(reader, summary) for summary in summaries])


def _row(reader: JournalReader, summary: Summary) -> tuple[str, str, str]:
    verdict = "failed" if summary.state in UNSUCCESSFUL else "success"
    return shown(summary.name), verdict, _reason(reader, summary)


def _reason(reader: JournalReader, summary: Summary) -> str:
    last = reader.history(summary.intent_id)[-1].event
    faults = getattr(last, "faults", ())
    if faults:
        return str(faults[0].message)
    failure = getattr(last, "failure", None)
    return str(failure.message) if failure else f"package for {summary.target}"


def _show_packages(out: Path) -> None:
    print_line()
    print_line(f"packages, in {out}:")
    for path in sorted(out.rglob("*")):
        if path.is_file():
            print_line(f"  {path.relative_to(out)}")


def _show_next_step(handoff: Path, out: Path) -> None:
    patch = next(iter(sorted(out.rglob("scaling-patch.yaml"))), None)
    if patch is not None:
        print_line()
        print_line(f"{patch}:")
        for line in patch.read_text(encoding="utf-8").splitlines():
            print_line(f"  {line}")
    command = _command()
    print_line()
    print_line("next, ask why one failed:")
    bad = sorted((handoff / "failed").glob("*.json"))
    word = bad[0].name if bad else "FILE"
    print_line(f"  {command} why {shlex.quote(word)} -handoff {shlex.quote(str(handoff))}")


def _command() -> str:
    """How to call this program again from where the user stands."""
    if shutil.which(NAME_OF_PROGRAM):
        return NAME_OF_PROGRAM
    called = Path(sys.argv[0])
    return os.path.relpath(called) if called.name == NAME_OF_PROGRAM else "python -m conductor_loop"
