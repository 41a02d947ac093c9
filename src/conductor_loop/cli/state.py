"""`conductor-loop state`: the original's state file in both directions; a lost journal anew."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from conductor_loop.adapters.journal.reader import JournalReader, open_reader
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
from conductor_loop.core.wording import counted
from conductor_loop.settings import Settings

NAME = "state"
HELP = (
    "Exchange what was processed with the original program. `import` takes its state file, so\n"
    "that what it had processed is not run again (the daemon does so by itself, once, for a file\n"
    "found in the handoff folder); `export` writes one, for going back. Prints to standard output\n"
    "unless FILE is given.\n"
    "`rebuild` makes a journal from the verdicts when there is none that can be used;\n"
    "one that is there is moved aside, what may have run is held. `discard` drops intents and\n"
    "entries (`entry-N`) that were set aside as damaged: what is still claimed is taken anew."
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
    if args.words:
        raise UsageError("rebuild takes no file and no id", hint="conductor-loop state --help")
    from conductor_loop.cli.restore import tell
    from conductor_loop.operations.rescue import rebuild

    tell(rebuild(settings, dry_run=args.dry_run), is_json=args.json)
    return 0


def _discard(args: argparse.Namespace, settings: Settings) -> int:
    """Exit status 1 when one of the words names nothing that was set aside."""
    from conductor_loop.operations.rescue import discard

    if not args.words:
        raise UsageError("name what to discard", hint="conductor-loop list marks what is damaged")
    dropped = _damaged(args, settings) if args.dry_run else discard(settings, args.words)
    if args.json:
        print_json({"discarded": list(dropped), "dry_run": args.dry_run})
    else:
        done = "would be discarded" if args.dry_run else "discarded"
        for word in args.words:
            print_line(f"{word}: {done if word in dropped else 'not set aside, left alone'}")
    return 0 if set(args.words) <= set(dropped) else 1


def _damaged(args: argparse.Namespace, settings: Settings) -> Sequence[str]:
    """Those of the words that name what was set aside."""
    reader = open_reader(settings.state_dir, settings.kek_file)
    aside = {each.name for each in reader.damaged()}
    return [word for word in args.words if word in aside]


def _file(args: argparse.Namespace) -> Path | None:
    if len(args.words) > 1:
        raise UsageError("one file at a time", hint="conductor-loop state --help")
    return Path(args.words[0]) if args.words else None


def _export(args: argparse.Namespace, settings: Settings) -> int:
    if args.dry_run:
        raise UsageError("export has no dry run", hint="without FILE it only prints")
    reader = open_reader(settings.state_dir, settings.kek_file)
    ours = list(_files(settings, reader))
    # The newest word on a name counts: what we did, the original's own file, what was imported.
    known = _with_older(settings, ours)
    data = write_original_state(_with_imported(settings, reader, known), datetime.now(UTC))
    file = _file(args)
    if file is None:
        sys.stdout.buffer.write(data)
    else:
        _replace(file, data)
    return 0


def _replace(file: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises UsageError where that is not possible."""
    place = Path(os.path.realpath(file))
    beside = place.with_name(f".{place.name}.{os.getpid()}.new")
    try:
        if place.exists() and not place.is_file():  # a pipe, a terminal
            place.write_bytes(data)
            return
        try:
            with beside.open("xb") as written:
                written.write(data)
                written.flush()
                os.fsync(written.fileno())
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {file}: {error.strerror}",
            hint="name a file in a folder that is there and that you may write to",
        ) from error


def _files(settings: Settings, reader: JournalReader) -> Iterator[FileState]:
    """The newest result of each name, under the path that the original would look for."""
    seen: set[bytes] = set()
    for summary in reader.summaries(states=set(_STATUS), limit=_MOST):
        if summary.name in seen or summary.final_at is None or not summary.digest:
            continue
        seen.add(summary.name)
        yield FileState(
            file_path=_path(settings, summary.name),
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


def _with_imported(
    settings: Settings, reader: JournalReader, known: Iterable[FileState]
) -> Sequence[FileState]:
    """And what was imported: a journal keeps no size of those, and nothing runs by it."""
    files = list(known)
    names = {file_name(file) for file in files}
    files += [
        FileState(_path(settings, name), digest, 0, at, OriginalStatus.PROCESSED)
        for name, digest, at in reader.imported_files()
        if name not in names
    ]
    return files


def _path(settings: Settings, name: bytes) -> str:
    folder = os.fsencode(settings.handoff.absolute()).decode("utf-8", "backslashreplace")
    return f"{folder}/{shown(name)}"


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
    verb = "would be" if args.dry_run else "was" if len(processed) == 1 else "were"
    files = counted(len(processed), "processed file", "processed files")
    print_line(f"{files} {verb} imported; the same file is not run again")
    failed = counted(len(state.files) - len(processed), "failed one", "failed ones")
    print_line(f"{failed} may be handed over again")
    if state.unusable:
        unusable = counted(state.unusable, "entry is", "entries are")
        print_line(f"{unusable} unusable and left out")
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
