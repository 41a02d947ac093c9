"""`conductor-loop completion SHELL`: a script that completes commands, flags and paths."""

from __future__ import annotations

import argparse
import sys

from conductor_loop.cli.commands import SUMMARIES, load
from conductor_loop.cli.flags import CommandParser, setting_of
from conductor_loop.settings import Settings

NAME = "completion"
HELP = "Print a script that lets a shell complete commands, flags, folders and files."
EXAMPLES = """\
source <(conductor-loop completion bash)
conductor-loop completion bash > /etc/bash_completion.d/conductor-loop
conductor-loop completion zsh > ~/.zfunc/_conductor-loop
"""

# What follows a flag that says nothing of it may be a file, which is left to readline.
_IN_BASH = """
_conductor_loop() {
  # To bash `-flag=value` is three words, to shtab it must be two.
  local at=$COMP_CWORD i words=()
  for i in "${!COMP_WORDS[@]}"; do
    if [[ ${COMP_WORDS[i]} == = && ${COMP_WORDS[i-1]} == -* ]]; then
      if (( i == COMP_CWORD )); then words+=(""); elif (( i < COMP_CWORD )); then (( at -= 1 )); fi
    else
      words+=("${COMP_WORDS[i]}")
    fi
  done
  local COMP_WORDS=("${words[@]}") COMP_CWORD=$at
  _shtab_conductor_loop "$@"
}
complete -o bashdefault -o default -F _conductor_loop conductor-loop
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="which shell")


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  see the protocol
    """Let shtab write the script from the parsers of all commands."""
    import shtab

    more = _IN_BASH if args.shell == "bash" else ""
    sys.stdout.write(f"{shtab.complete(_whole_parser(), shell=args.shell)}\n{more}")
    return 0


def _whole_parser() -> argparse.ArgumentParser:
    """One parser of everything, which is never used to parse."""
    from conductor_loop.cli.main import command_parser

    whole = command_parser("run", load("run"))
    whole.prog = "conductor-loop"
    commands = whole.add_subparsers(parser_class=argparse.ArgumentParser)
    _explain(whole)
    for name, summary in SUMMARIES.items():
        parser = command_parser(name, load(name))
        _explain(parser)
        commands.add_parser(name, help=summary, parents=[parser], add_help=False)
    return whole


def _explain(parser: CommandParser) -> None:
    """Tell shtab what follows each flag: a folder, a file, or one of a few words."""
    import shtab

    paths = {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE}
    for action in parser.actions():
        # One dash or two: examples are written with one.
        names = [flag.lstrip("-") for flag in action.option_strings]
        action.option_strings = [f"{dashes}{name}" for dashes in ("-", "--") for name in names]
        if isinstance(action.metavar, str) and action.metavar in paths:
            action.complete = paths[action.metavar]  # type: ignore[attr-defined]  # shtab's way
        option = setting_of(action)
        if option is not None and option.reader.choices and action.nargs is None:
            action.choices = option.reader.choices
