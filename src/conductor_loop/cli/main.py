"""The command `conductor-loop`: finds the command, reads the settings, tells what went wrong.

Every import waits until it is needed, so that `--version` and `--help` come at once.
"""

from __future__ import annotations

import os
import sys

from conductor_loop import __version__

TYPE_CHECKING = False  # importing `typing` for it would be most of what `--version` imports
if TYPE_CHECKING:
    from collections.abc import Sequence

    from conductor_loop.cli.commands import Command
    from conductor_loop.cli.flags import CommandParser
    from conductor_loop.core.faults import ConductorError, UsageError

# What a shell reports for a program that ended by SIGINT or SIGPIPE: 128 and the signal's number.
_INTERRUPTED, _PIPE_CLOSED = 130, 141
_VERSION = (("--version",), ("-version",))
_STANDARD_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status. Nothing is raised, no trace is printed."""
    have_standard_streams()
    arguments = tuple(sys.argv[1:] if argv is None else argv)
    if _is_run(arguments):
        from conductor_loop.cli.footprint import do_without_openssl
        from conductor_loop.cli.stopping import noting_signals

        do_without_openssl()
        with noting_signals():
            return _guarded(arguments)
    return _guarded(arguments)


def _is_run(arguments: tuple[str, ...]) -> bool:
    if arguments[:1] in _VERSION:
        return False
    return not arguments or arguments[0] == "run" or arguments[0].startswith("-")


def _guarded(arguments: tuple[str, ...]) -> int:
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return _PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  the last line of defence; see unexpected()
        return _told(error, as_json=_wants_json(arguments))
    finally:
        let_go_of_output()
    return status


def _wants_json(arguments: tuple[str, ...]) -> bool:
    """Whether a script asked, also where the command line is mistaken otherwise."""
    from conductor_loop.settings.readers import Unreadable, read_switch

    for word in arguments:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or name != "json":
            continue
        try:
            return read_switch(value) if equals else True
        except Unreadable:
            return False
    return False


def command_parser(name: str, command: Command) -> CommandParser:
    """Make the parser of one command, with the settings that every command takes."""
    from conductor_loop.cli.flags import EVERYWHERE, CommandParser, add_settings

    parser = CommandParser(f"conductor-loop {name}", command.HELP, command.EXAMPLES)
    command.add_arguments(parser)
    settings = parser.add_argument_group("where the daemon keeps its things")
    add_settings(settings, *(one for one in EVERYWHERE if not parser.takes_setting(one)))
    return parser


def _run(arguments: tuple[str, ...]) -> int:
    if arguments[:1] in _VERSION:
        sys.stdout.write(f"conductor-loop {__version__}\n")
        return 0
    from conductor_loop.cli.commands import SUMMARIES, invocation, load

    if arguments[:1] in (("-h",), ("-help",), ("--help",)):
        return _overview()
    if arguments[:1] == ("help",):
        if len(arguments) == 1:
            return _overview()
        arguments = (arguments[1], "--help")
    asked = invocation(arguments)
    if asked.name not in SUMMARIES:
        raise _no_such_command(asked.name)
    command = load(asked.name)
    parser = command_parser(asked.name, command)
    understood = parser.understand(asked.arguments)
    if understood.wants_help:
        sys.stdout.write(parser.format_help())
        return 0
    from conductor_loop.settings import load_settings

    settings = load_settings(understood.settings, os.environ, understood.mistakes)
    assert understood.args is not None  # otherwise there was a mistake
    from conductor_loop.cli.terminal import print_warning, speak_for
    from conductor_loop.settings.addressing import address

    speak_for(address(settings))
    if asked.name != "run":  # which puts them into its log
        for warning in settings.warnings:
            print_warning(warning)
    from conductor_loop.core.faults import CannotStart

    try:
        return command.run(understood.args, settings)
    except PermissionError as error:
        from conductor_loop.cli.permission import explained

        raise explained(error, settings) from error
    except CannotStart as error:
        if error.code not in ("no_journal", "journal_gone"):
            raise
        from conductor_loop.adapters.handoff.lock import served_elsewhere

        raise served_elsewhere(settings.handoff, settings.state_dir) or error from error


def have_standard_streams() -> None:
    """Open what was closed: the next file to be opened, the journal say, would be stdout."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(handle)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(_STANDARD_ERROR, "w")


def _overview() -> int:
    from conductor_loop.cli.commands import SUMMARIES, load

    flags = command_parser("run", load("run")).format_help().split("\n\n", 1)[1]
    commands = "\n".join(f"  {name:12}{summary}" for name, summary in SUMMARIES.items())
    sys.stdout.write(
        "usage: conductor-loop [COMMAND] [FLAGS]\n\n"
        f"commands (each with --help):\n{commands}\n\n"
        f"Without a command, or with flags alone, it is `run`:\n\n{flags}"
    )
    return 0


def _no_such_command(name: str) -> UsageError:
    from conductor_loop.cli.commands import SUMMARIES
    from conductor_loop.core.faults import UsageError
    from conductor_loop.settings.spelling import did_you_mean

    hint = did_you_mean(name, SUMMARIES) or "conductor-loop --help lists the commands"
    return UsageError(f"unknown command {name}", hint=hint)


def let_go_of_output() -> None:
    """Drop what standard output does not take: Python tries once more at exit, and fails it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: Exception, *, as_json: bool) -> int:
    """Say what went wrong on standard error, and to a script on standard output as well."""
    from conductor_loop.cli.terminal import print_failure_as_json, print_raised
    from conductor_loop.core.faults import ConductorError

    if isinstance(error, OSError):
        error = _refused(error)
    if isinstance(error, ConductorError):
        print_raised(error)
    else:
        from conductor_loop.cli.logging_setup import log_unexpected

        error = log_unexpected(error)
    if as_json:
        print_failure_as_json(error)
    return error.exit_status


def _refused(error: OSError) -> ConductorError:
    """The disk or the system said no where nobody can go on: no defect, and nothing is lost."""
    import logging

    from conductor_loop.core.faults import ConductorError

    logging.getLogger("conductor_loop").debug("the system refused", exc_info=error)
    return ConductorError(
        f"the system refused: {error}",
        hint="look at disk, limits and permissions, then start again: what was handed over is kept",
        code="system_refused",
    )
