"""Flags the way Go's `flag` package takes them, on top of argparse: one dash or two, a space or
`=`, and booleans that never take the next word (pkg.go.dev/flag, "Command line flag syntax").
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from conductor_loop.core.faults import UsageError
from conductor_loop.settings.declared.option import Option
from conductor_loop.settings.model import OPTIONS
from conductor_loop.settings.readers import Unreadable, read_switch
from conductor_loop.settings.spelling import did_you_mean

EVERYWHERE = ("handoff", "state-dir", "kek-file", "config")
"""The settings that every command takes."""
OF_INTENTS = (
    "schema",
    "max-file-size",
    "allow-system-namespaces",
    "allow-namespaces",
    "deny-namespaces",
)
"""The settings that decide whether an intent is accepted."""
_DESTINATION = "setting:"
_HELP = ("h", "help")


@dataclass(slots=True)
class Understood:
    """A command line, taken apart. `args` is None when it cannot be used or help is wanted."""

    settings: list[tuple[str, str]] = field(default_factory=list)
    """(name of the setting, value as written), in order."""
    mistakes: list[UsageError] = field(default_factory=list)
    wants_help: bool = False
    args: argparse.Namespace | None = None


@dataclass(slots=True)
class _Split:
    flags: list[tuple[argparse.Action, str | None]] = field(default_factory=list)
    positionals: list[str] = field(default_factory=list)
    mistakes: list[UsageError] = field(default_factory=list)
    wants_help: bool = False


class CommandParser(argparse.ArgumentParser):
    """The parser of one command."""

    def __init__(self, prog: str, description: str, examples: str) -> None:
        super().__init__(
            prog=prog,
            usage=None,
            description=description,
            epilog="examples:\n" + "\n".join("  " + line for line in examples.strip().splitlines()),
            formatter_class=_Layout,
            add_help=False,
            allow_abbrev=False,
        )

    def understand(self, argv: Sequence[str]) -> Understood:
        """Take a command line apart; mistakes are collected, not raised."""
        split = _split(argv, self._flags_by_name(), bool(self._get_positional_actions()))
        understood = Understood(mistakes=split.mistakes, wants_help=split.wants_help)
        understood.settings = list(_settings_among(split.flags))
        if not split.mistakes and not split.wants_help:
            try:
                understood.args = self.parse_args(list(_canonical(split)))
            except UsageError as error:
                understood.mistakes.append(error)
        return understood

    def format_help(self) -> str:
        """Write the help; a switch takes its value behind `=` alone, which argparse cannot say."""
        return super().format_help().replace(" [true|false]", "[=true|false]")

    def actions(self) -> Sequence[argparse.Action]:
        """Every positional and flag that was declared."""
        return tuple(self._actions)

    def takes_setting(self, name: str) -> bool:
        """Tell whether a setting is declared as a flag of this command."""
        return any(setting_of(action) is OPTIONS[name] for action in self._actions)

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise instead of printing and exiting."""
        raise UsageError(message, hint=f"{self.prog} --help shows how")

    def _flags_by_name(self) -> dict[str, argparse.Action]:
        return {
            spelling.lstrip("-"): action
            for action in self._get_optional_actions()
            for spelling in action.option_strings
        }


class _Layout(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


def add_settings(parser: argparse._ActionsContainer, *names: str) -> None:
    """Let a command take these settings as flags; they reach it through its `Settings`."""
    for name in names:
        option = OPTIONS[name]
        default = option.shown_default or option.default
        shown = f"{option.purpose} (default {default})".replace("%", "%%")
        parser.add_argument(
            f"-{name}",
            dest=_DESTINATION + name,
            metavar=option.reader.metavar,
            default=argparse.SUPPRESS,
            help=shown,
            nargs="?" if bool in option.reader.in_toml else None,
            const="true" if bool in option.reader.in_toml else None,
        )


def free_text(given: str) -> str:
    """Take a text for the record; bytes in it that are no UTF-8 become `\\xNN`."""
    return os.fsencode(given).decode("utf-8", "backslashreplace")


def setting_of(action: argparse.Action) -> Option | None:
    """The setting that a flag stands for; None for a flag of the command's own."""
    if not action.dest.startswith(_DESTINATION):
        return None
    return OPTIONS[action.dest.removeprefix(_DESTINATION)]


def given_settings(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The settings that a command line gave, as it gave them."""
    return [
        (name.removeprefix(_DESTINATION), value)
        for name, value in vars(args).items()
        if name.startswith(_DESTINATION)
    ]


def _settings_among(
    flags: Sequence[tuple[argparse.Action, str | None]],
) -> Iterator[tuple[str, str]]:
    for action, value in flags:
        option = setting_of(action)
        if option is not None:
            yield option.name, "true" if value is None else value


def _split(
    argv: Sequence[str], known: Mapping[str, argparse.Action], takes_positionals: bool
) -> _Split:
    split = _Split()
    words = iter(enumerate(argv))
    for at, word in words:
        if word == "--":
            split.positionals.extend(argv[at + 1 :])
            break
        if not word.startswith("-") or word == "-":
            split.positionals.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name in _HELP and not equals:
            split.wants_help = True
        elif name not in known:
            split.mistakes.append(_unknown(word, known))
        elif equals or _is_bare(known[name]):
            split.flags.append((known[name], value if equals else None))
        elif (mistake := _no_value(word, argv[at + 1 : at + 2], known)) is not None:
            split.mistakes.append(mistake)
        else:
            split.flags.append((known[name], next(words)[1]))
    if split.positionals and not takes_positionals and not split.mistakes:
        split.mistakes.extend(_unexpected(word, argv, known) for word in split.positionals[:1])
    return split


def _is_bare(action: argparse.Action) -> bool:
    return action.nargs in (0, "?")


def _unknown(word: str, known: Mapping[str, argparse.Action]) -> UsageError:
    name = word.lstrip("-").partition("=")[0]
    guess = did_you_mean(name, known)
    hint = guess.replace("mean ", "mean -") or "--help lists the flags of this command"
    return UsageError(f"unknown flag {word.partition('=')[0]}", hint=hint)


def _no_value(
    word: str, following: Sequence[str], known: Mapping[str, argparse.Action]
) -> UsageError | None:
    if not following:
        return UsageError(f"flag {word} needs a value", hint=f"write {word}=VALUE")
    # Go would take the next flag for the value, and a folder called `-once` would appear.
    after = following[0]
    if after.startswith("-") and after.lstrip("-").partition("=")[0] in known:
        return UsageError(
            f"flag {word} needs a value, but {after} follows",
            hint=f"write {word}={after} if that is really meant",
        )
    return None


def _unexpected(word: str, argv: Sequence[str], known: Mapping[str, argparse.Action]) -> UsageError:
    before = argv[argv.index(word) - 1] if argv.index(word) else ""
    if before.startswith("-") and word.lower() in ("true", "false"):
        return UsageError(f"{before} takes no separate {word}", hint=f"write {before}={word}")
    from conductor_loop.cli.commands import SUMMARIES

    if "target" in known:
        hint = f"name a target with the flag: -target {word}"
    elif word in SUMMARIES:
        hint = f"the command comes first: conductor-loop {word}, then the flags"
    else:
        hint = did_you_mean(word, SUMMARIES) or "this command takes flags only; see --help"
    return UsageError(f"unexpected argument {word}", hint=hint)


def _canonical(split: _Split) -> Iterator[str]:
    """Write the command line so that argparse cannot misunderstand it."""
    for action, value in split.flags:
        spelling = action.option_strings[0]
        if value is None:
            yield spelling
        elif action.nargs != 0:
            yield f"{spelling}={value}"
        elif _is_on(spelling, value):
            yield spelling
    if split.positionals:
        yield "--"
        yield from split.positionals


def _is_on(spelling: str, value: str) -> bool:
    try:
        return read_switch(value)
    except Unreadable as error:
        raise UsageError(f"{spelling}: {error}", hint=error.hint) from None
