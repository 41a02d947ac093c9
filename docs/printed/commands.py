"""The page of the command line: every command, what it takes, and examples."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from conductor_loop.cli import porch
from conductor_loop.cli.commands import SUMMARIES, Command, load
from conductor_loop.cli.flags import EVERYWHERE, setting_of
from conductor_loop.cli.main import command_parser
from docs.printed.tables import code, plain, table

_OPENING = """\
# Command line

Every command with its flags, as `conductor-loop COMMAND --help` tells them. This page is printed
from the code by `python -m docs.printed`; a test keeps the two equal.

A command line that begins with a flag, or is empty, means `run`. Flags take one dash or two, and a
space or `=`. Which folders a command is about, it finds like the daemon: by `-handoff`,
`-state-dir`, `-kek-file` and `-config`, which every command takes, by their `CONDUCTOR_*`
variables, or in `./handoff`. A flag that is a setting links to [Settings](reference-settings.md),
which has its default.

| exit status | |
|---|---|
| 0 | done |
| 1 | it could not be done, or `-once` waited for the environment longer than `-timeout` |
| 2 | the command line, environment or configuration file asks for something impossible |
| 8 | done, and something that was looked at is not good: an intent, a signature, a control |
| 130, 141 | ended by Ctrl-C; the reader of its output went away |

"""
_RUN = "Takes every setting that has a flag: [Settings](reference-settings.md) lists them.\n"


def page() -> str:
    """Write the whole page."""
    summary = table(
        ("command", "what it does"),
        ((f"[{code(name)}](#{name})", plain(text)) for name, text in SUMMARIES.items()),
    )
    commands = (_section(name, load(name)) for name in SUMMARIES)
    return "\n".join([_OPENING + summary, *commands, _porch()])


def _section(name: str, command: Command) -> str:
    actions = [
        action
        for action in command_parser(name, command).actions()
        if (setting := setting_of(action)) is None or setting.name not in EVERYWHERE
    ]
    taken = _RUN if name == "run" else _taken(actions)
    parts = [f"## {name}\n", _prose(command.HELP), taken, _examples(command.EXAMPLES)]
    return "\n".join(part for part in parts if part)


def _prose(text: str) -> str:
    return plain(text).strip() + "\n"


def _examples(text: str) -> str:
    return f"```sh\n{text.strip()}\n```\n"


def _taken(actions: list[argparse.Action]) -> str:
    return table(("takes", "meaning"), map(_row, actions)) if actions else ""


def _row(action: argparse.Action) -> tuple[str, str]:
    setting = setting_of(action)
    if setting is not None:
        taken = code(f"-{setting.name} {setting.reader.metavar}")
        anchor = "-".join(setting.group.split())
        return taken, f"[setting](reference-settings.md#{anchor}): {plain(setting.purpose)}"
    choices = " | ".join(map(code, action.choices or ()))
    meaning = "; ".join(part for part in (plain(action.help or ""), choices) if part)
    return code(_spelled(action)), meaning


def _spelled(action: argparse.Action) -> str:
    if action.option_strings:
        name = ", ".join(action.option_strings)
        takes_value = action.nargs != 0
        return f"{name} {action.metavar or action.dest.upper()}" if takes_value else name
    word = str(action.metavar or action.dest.upper())
    many = {"+": "{} ...", "*": "[{} ...]", "?": "[{}]"}
    return many.get(str(action.nargs), "{}").format(word)


def _porch() -> str:
    return "\n".join(_porch_parts())


def _porch_parts() -> Iterator[str]:
    parser = porch._parser()
    yield "## conductor-porch\n"
    yield "The built-in renderer, with the interface of a `porch` command. A program of its own.\n"
    yield _taken([action for action in parser._actions if action.dest not in ("help", "version")])
    yield f"```text\n{porch._HELP.strip()}\n```\n"
    yield _examples(porch._EXAMPLES.removeprefix("examples:\n").replace("\n  ", "\n").lstrip())
