"""`conductor-loop render FILE`: what the built-in publisher would write, without writing it."""

from __future__ import annotations

import argparse
import errno
import hashlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from conductor_loop.cli.checking import fault_fields, judge, print_faults
from conductor_loop.cli.flags import OF_INTENTS, add_settings
from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.core.faults import Fault, UsageError
from conductor_loop.core.legible import legible_block
from conductor_loop.core.naming import shown
from conductor_loop.core.packages import Package, render
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from conductor_loop.settings import Settings
from conductor_loop.settings.intake import intake_rules

if TYPE_CHECKING:
    from conductor_loop.adapters.builtin.package_contents import Contents

NAME = "render"
HELP = (
    "Print the package that the built-in publisher would write for an intent. With --diff, print\n"
    "what that would change in -out, as a unified diff, and name what is no file there. Nothing\n"
    "is written.\n\n"
    "Exit status: 0 printed, or no difference; 1 there is one; 2 a file cannot be read; 8 the\n"
    "intent is not valid, or has no package."
)
EXAMPLES = """\
conductor-loop render intent-scale-up.json
conductor-loop render intent-scale-up.json -mode structured --diff -out ./out
conductor-loop render --json - < intent-scale-up.json
"""
_SAME, _DIFFERENT, _BAD_INTENT = 0, 1, 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One file, and the settings that decide what becomes of it."""
    parser.add_argument("file", metavar="FILE", help="an intent; - is standard input")
    parser.add_argument("--diff", action="store_true", help="compare with what is in -out")
    parser.add_argument("--json", action="store_true", help="print the files as JSON")
    add_settings(parser, "mode", "out", *OF_INTENTS)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Render, then print or compare."""
    rules = intake_rules(settings)
    judged = judge(args.file, rules, settings.max_file_size)
    package = judged.faults or _package(judged.body, rules, settings)
    if not isinstance(package, Package):
        _print_refusal(args.file, package, as_json=args.json)
        return _BAD_INTENT
    old = _in_out(package, settings) if args.diff else None
    differing = _differing(package, old) if old else []
    if args.json:
        print_json(_fields(package, old, differing))
    elif old is not None:
        for line in _diff(package, old, str(settings.out)):
            _print_text(line)
    else:
        _print_files(package)
    return _DIFFERENT if differing else _SAME


def _package(body: bytes, rules: IntakeRules, settings: Settings) -> Package | tuple[Fault, ...]:
    intent = read_intent(body, rules)
    if isinstance(intent, Unreadable):
        return intent.faults
    package = render(intent, settings.mode)
    return (package,) if isinstance(package, Fault) else package


def _print_refusal(source: str, faults: tuple[Fault, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"file": source, "faults": fault_fields(faults)})
        return
    print_line(f"{source}: no package")
    print_faults(faults)


def _in_out(package: Package, settings: Settings) -> Contents:
    from conductor_loop.adapters.builtin.package_contents import contents_in

    try:
        return contents_in(settings.out, package.folder)
    except OSError as error:
        place = settings.out / "/".join(package.folder)
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and settings.out.is_dir():
            message = f"{place} is no folder: a file or a symlink stands in its way"
            raise UsageError(message, hint="move it away") from error
        raise UsageError(
            f"cannot read {place}: {error.strerror}",
            hint="name the folder that packages go to with -out",
        ) from error


def _print_files(package: Package) -> None:
    for name, content in sorted(package.files.items()):
        if len(package.files) > 1:
            print_line(f"==> {'/'.join([*package.folder, name])} <==")
        _print_text(content.decode())


def _differing(package: Package, old: Contents) -> list[str]:
    changed = {n for n, content in package.files.items() if old.files.get(n) != content}
    return sorted(changed | (old.files.keys() - package.files.keys()) | old.others.keys())


def _diff(package: Package, old: Contents, out: str) -> Iterator[str]:
    import difflib

    for name in _differing(package, old):
        path = "/".join([*package.folder, shown(name.encode(errors="surrogateescape"))])
        if name in old.others:
            yield f"Only in {out}: {path} ({old.others[name]})\n"
        yield from difflib.unified_diff(
            _lines(old.files.get(name)),
            _lines(package.files.get(name)),
            f"a/{path}" if name in old.files else "/dev/null",
            f"b/{path}" if name in package.files else "/dev/null",
        )


def _lines(content: bytes | None) -> list[str]:
    lines = (content or b"").decode(errors="backslashreplace").split("\n")
    whole = [f"{line}\n" for line in lines[:-1]]
    return whole if lines[-1] == "" else [*whole, f"{lines[-1]}\n\\ No newline at end of file\n"]


def _print_text(text: str) -> None:
    # A file in OUT may hold anything, so nothing that moves a cursor is passed on.
    encoding = sys.stdout.encoding or "ascii"
    legible = legible_block(text).encode(encoding, "backslashreplace")
    sys.stdout.write(legible.decode(encoding))


def _fields(package: Package, old: Contents | None, differing: list[str]) -> dict[str, object]:
    fields: dict[str, object] = {
        "namespace": package.folder[0],
        "target": package.folder[1],
        "files": [
            {
                "name": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "content": content.decode(),
            }
            for name, content in sorted(package.files.items())
        ],
    }
    if old is not None:
        fields["differing"] = differing
        fields["not_files"] = [{"name": n, "kind": kind} for n, kind in old.others.items()]
    return fields
