"""`conductor-loop state`: the original's state file in both directions; a lost journal anew."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from conductor_loop.adapters.journal.reader import open_reader
from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.core.faults import UsageError
from conductor_loop.core.naming import shown
from conductor_loop.core.original_state import (
    FILE_NAME,
    FileState,
    NotOriginalState,
    OriginalState,
    OriginalStatus,
    file_name,
    read_original_state,
    write_original_state,
)
from conductor_loop.core.states import State
from conductor_loop.settings import Settings

NAME = "state"
HELP = (
    "Exchange what was processed with the original program. `import` takes its state file, so\n"
    "that what it had processed is not run again (the daemon does so by itself, once, for a file\n"
    "found in the handoff folder); `export` writes one, for going back. Prints to standard output\n"
    "unless FILE is given.\n"
    "`rebuild` makes a journal from the verdicts when there is none that can be used;\n"
    "one that is there is moved aside, what may have run is held. `discard` drops intents that\n"
    "were set aside as damaged: what is still claimed of them is taken anew."
)
EXAMPLES = """\
conductor-loop state import /old/handoff/.conductor-state.json
conductor-loop state import /old/handoff/.conductor-state.json -dry-run
conductor-loop state export > .conductor-state.json
conductor-loop state rebuild -dry-run
conductor-loop state discard 01JCZ8R5N2W4Y6A8C0E2G4J6K8
"""
_MOST = 10_000_000
_STATUS = {
    State.PUBLISHED: OriginalStatus.PROCESSED,
    State.FAILED: OriginalStatus.FAILED,
    State.TIMED_OUT: OriginalStatus.FAILED,
    State.REJECTED: OriginalStatus.FAILED,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Direction and file."""
    parser.add_argument("direction", choices=["export", "import", "rebuild", "discard"])
    parser.add_argument("words", nargs="*", metavar="FILE|ID")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do what the first word says."""
    match args.direction:
        case "export":
            return _export(args, settings)
        case "import":
            return _import(args, settings)
        case "rebuild":
            return _rebuild(args, settings)
        case _:
            return _discard(args, settings)


def _rebuild(args: argparse.Namespace, settings: Settings) -> int:
    from conductor_loop.cli.restore import tell
    from conductor_loop.operations.rescue import rebuild

    tell(rebuild(settings, dry_run=args.dry_run), is_json=args.json)
    return 0


def _discard(args: argparse.Namespace, settings: Settings) -> int:
    from conductor_loop.operations.rescue import discard

    dropped = discard(settings, args.words)
    if args.json:
        print_json({"discarded": list(dropped)})
        return 0
    for word in args.words:
        verb = "discarded" if word in dropped else "not set aside, left alone"
        print_line(f"{word}: {verb}")
    return 0


def _file(args: argparse.Namespace) -> Path | None:
    if len(args.words) > 1:
        raise UsageError("one file at a time", hint="conductor-loop state --help")
    return Path(args.words[0]) if args.words else None


def _export(args: argparse.Namespace, settings: Settings) -> int:
    data = write_original_state(_with_older(settings, list(_files(settings))), datetime.now(UTC))
    file = _file(args)
    if file is None:
        sys.stdout.buffer.write(data)
    else:
        file.write_bytes(data)
    return 0


def _files(settings: Settings) -> Iterator[FileState]:
    """The newest result of each name, under the path that the original would look for."""
    seen: set[bytes] = set()
    for summary in open_reader(settings.state_dir, settings.kek_file).summaries(
        states=set(_STATUS), limit=_MOST
    ):
        if summary.name in seen or summary.final_at is None or not summary.digest:
            continue
        seen.add(summary.name)
        yield FileState(
            file_path=f"{settings.handoff.absolute()}/{shown(summary.name)}",
            sha256=summary.digest,
            size=summary.size,
            processed_at=summary.final_at,
            status=_STATUS[summary.state],
        )


def _with_older(settings: Settings, ours: Sequence[FileState]) -> Iterator[FileState]:
    """Ours, and what only the original's own file knows: it may be written over by this one."""
    names = {file_name(file) for file in ours}
    path = settings.handoff / FILE_NAME
    older = _read(path).files if path.exists() else ()
    yield from (file for file in older if file_name(file) not in names)
    yield from ours


def _import(args: argparse.Namespace, settings: Settings) -> int:
    path = _file(args) or settings.handoff / FILE_NAME
    state = _read(path)
    processed = [f for f in state.files if f.status is OriginalStatus.PROCESSED]
    if not args.dry_run:
        from conductor_loop.wiring import import_offline

        import_offline(settings, processed, str(path))
    if args.json:
        print_json(
            {
                "processed": [shown(file_name(f)) for f in processed],
                "failed": len(state.files) - len(processed),
                "unusable": state.unusable,
                "dry_run": args.dry_run,
            }
        )
        return 0
    verb = "would be" if args.dry_run else "were"
    print_line(f"{len(processed)} processed files {verb} imported; the same file is not run again")
    print_line(f"{len(state.files) - len(processed)} failed ones may be handed over again")
    if state.unusable:
        print_line(f"{state.unusable} entries are unusable and were left out")
    return 0


def _read(path: Path) -> OriginalState:
    try:
        return read_original_state(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="name the original's state file"
        ) from error
    except NotOriginalState as error:
        raise UsageError(
            f"{path} is no state file of the original: {error}",
            hint='it starts with {"version": "1.0", and lists files under states',
        ) from error
