"""The command `conductor-porch`: the built-in renderer behind the interface of a `porch` command.

It is started once for each intent, so every import waits until it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from conductor_loop.cli.main import have_standard_streams, let_go_of_output

if TYPE_CHECKING:
    import argparse

    from conductor_loop.core.faults import Fault
    from conductor_loop.core.packages import Mode, Package

_HELP = """\
Writes the package of one intent to DIR/NAMESPACE/TARGET/, as a whole and durably.

exit status:
   0  done
   1  FILE is not a valid intent; every fault is told
   2  the intent names no blueprint, or no cluster, to deploy
   3  DIR may not be written
  64  the command line is wrong
  66  FILE cannot be read
  70  a defect
  73  something that is no folder is in the package's place
  75  no room, or another trouble that may pass
"""
_EXAMPLES = """\
examples:
  conductor-porch -intent intent-scale-up.json -out ./out
  conductor-porch --intent=intent-scale-up.json --out=./out -structured
  conductor-loop -porch conductor-porch
"""
_DONE, _INVALID, _NOT_FOUND, _NOT_PERMITTED = 0, 1, 2, 3
# sysexits.h, so that none can be taken for one of the porch command's own.
_USAGE, _NO_INPUT, _DEFECT, _CANNOT_CREATE, _TEMPORARY = 64, 66, 70, 73, 75
_NOT_FOUND_CODES = {"no_blueprint", "no_workload_cluster"}
_FAILURE_STATUS = {"out_not_permitted": _NOT_PERMITTED, "out_obstructed": _CANNOT_CREATE}
# As the daemon's -max-file-size by default.
_LONGEST_INTENT = 10 << 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    have_standard_streams()
    try:
        asked = _parser().parse_args(argv)
        return _write(asked.intent, asked.out, is_structured=asked.structured)
    except Exception as error:  # noqa: BLE001  else Python would end with 1: an invalid intent
        from conductor_loop.cli.terminal import print_error

        print_error(f"unexpected {type(error).__name__}: {error}", "this is a defect: report it")
        return _DEFECT
    finally:
        let_go_of_output()


def _parser() -> argparse.ArgumentParser:
    import argparse

    from conductor_loop import __version__

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.print_usage(sys.stderr)
            self.exit(_USAGE, f"ERROR: {message}\nhint: {self.prog} --help shows how\n")

    parser = Parser(
        prog="conductor-porch",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "-help", "--help", action="help", help="show this")
    parser.add_argument(
        *("-intent", "--intent"), required=True, type=_path, metavar="FILE", help="the intent"
    )
    parser.add_argument(
        *("-out", "--out"), required=True, type=_path, metavar="DIR", help="made if missing"
    )
    parser.add_argument(
        *("-structured", "--structured"),
        nargs="?",
        type=_switch,
        const=True,
        default=False,
        metavar="true|false",
        help="write a kpt package instead of a bare patch",
    )
    version = f"conductor-porch {__version__}"
    parser.add_argument("-version", "--version", action="version", version=version)
    return parser


def _path(text: str) -> str:
    if not text:
        raise _refused("is empty")
    return text


def _switch(text: str) -> bool:
    # The spellings of Go's strconv.ParseBool, which the original's flags take.
    if text in {"1", "t", "T", "true", "True", "TRUE"}:
        return True
    if text in {"0", "f", "F", "false", "False", "FALSE"}:
        return False
    raise _refused(f"{text!r} is neither true nor false")


def _refused(what: str) -> Exception:
    import argparse

    return argparse.ArgumentTypeError(what)


def _write(intent: str, out: str, *, is_structured: bool) -> int:
    from conductor_loop.core.packages import Mode

    try:
        with open(intent, "rb") as file:
            body = file.read(_LONGEST_INTENT + 1)
    except OSError as error:
        from conductor_loop.cli.terminal import print_error

        print_error(f"cannot read {intent}: {error.strerror}", "give the path of an intent file")
        return _NO_INPUT
    package = _package(body, Mode.STRUCTURED if is_structured else Mode.DIRECT)
    return package if isinstance(package, int) else _place(package, out)


def _package(body: bytes, mode: Mode) -> Package | int:
    """Render an intent, or tell its faults and return the exit status."""
    from conductor_loop.adapters.intent_check import check_against
    from conductor_loop.core.contract import SYSTEM_NAMESPACES
    from conductor_loop.core.faults import Fault
    from conductor_loop.core.packages import render
    from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent

    if len(body) > _LONGEST_INTENT:
        return _told(Fault("too_large", f"the intent is larger than {_LONGEST_INTENT} bytes"))
    # Whether system namespaces may be touched is decided at intake, by the daemon's operator.
    rules = IntakeRules(check_against(None), SYSTEM_NAMESPACES)
    intent = read_intent(body, rules)
    if isinstance(intent, Unreadable):
        return _told(*intent.faults)
    package = render(intent, mode)
    return _told(package) if isinstance(package, Fault) else package


def _told(*faults: Fault) -> int:
    from conductor_loop.cli.terminal import print_error

    for fault in faults:
        place = f"{fault.pointer}: " if fault.pointer else ""
        print_error(f"{place}{fault.message} [{fault.code}]", fault.hint)
    return _NOT_FOUND if {fault.code for fault in faults} <= _NOT_FOUND_CODES else _INVALID


def _place(package: Package, out: str) -> int:
    from contextlib import closing

    from conductor_loop.adapters.builtin.package_folder import PackageFolder
    from conductor_loop.cli.terminal import print_error, print_line, print_warning
    from conductor_loop.core.events import Failure
    from conductor_loop.core.faults import CannotStart, DurabilityLost

    try:
        with closing(PackageFolder.open(out)) as folder:
            placed = folder.put(package, print_warning)
            if isinstance(placed, Failure):
                print_error(placed.message, placed.hint)
                return _FAILURE_STATUS.get(placed.code, _TEMPORARY)
            folder.settle()
    except (CannotStart, DurabilityLost) as error:
        print_error(error.message, error.hint)
        is_forbidden = isinstance(error.__cause__, PermissionError)
        return _NOT_PERMITTED if is_forbidden else _TEMPORARY
    verb = "wrote" if placed.changed else "unchanged:"
    try:
        print_line(f"{verb} {'/'.join([out, *package.folder])} ({', '.join(placed.digests)})")
        sys.stdout.flush()
    except OSError as error:  # the package is there all the same
        print_warning(f"standard output takes nothing: {error.strerror}")
    return _DONE
