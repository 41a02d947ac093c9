"""Flags the way Go's flag package takes them."""

from __future__ import annotations

import argparse

import pytest

from conductor_loop.cli.flags import CommandParser, Understood, add_settings
from conductor_loop.settings.model import OPTIONS

FLAGS = [option for option in OPTIONS.values() if option.has_flag]
SWITCHES = [option.name for option in FLAGS if bool in option.reader.in_toml]
VALUED = [option.name for option in FLAGS if bool not in option.reader.in_toml]


def every_flag() -> CommandParser:
    parser = CommandParser("conductor-loop run", "Watch.", "conductor-loop")
    add_settings(parser, *(option.name for option in FLAGS))
    return parser


def with_files() -> CommandParser:
    parser = CommandParser("conductor-loop submit", "Submit.", "conductor-loop submit FILE")
    add_settings(parser, "handoff", "once")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("-v", "--verbose", action="count", default=0)
    parser.add_argument("--tag", action="append", default=[])
    return parser


def args_of(parser: CommandParser, *argv: str) -> argparse.Namespace:
    understood = parser.understand(argv)
    assert understood.mistakes == []
    assert understood.args is not None
    return understood.args


def told(understood: Understood) -> str:
    return " / ".join(f"{one.message} ({one.hint})" for one in understood.mistakes)


@pytest.mark.parametrize("name", VALUED)
@pytest.mark.parametrize("dashes", ["-", "--"])
def test_a_value_follows_after_a_space_or_an_equals_sign(name: str, dashes: str) -> None:
    for argv in ([f"{dashes}{name}", "v=1"], [f"{dashes}{name}=v=1"]):
        assert every_flag().understand(argv) == Understood(
            settings=[(name, "v=1")], args=every_flag().understand(argv).args
        )


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("dashes", ["-", "--"])
@pytest.mark.parametrize(
    ("written", "value"), [("", "true"), ("=true", "true"), ("=false", "false"), ("=0", "0")]
)
def test_a_boolean_flag_stands_bare_or_with_an_equals_sign(
    name: str, dashes: str, written: str, value: str
) -> None:
    understood = every_flag().understand([f"{dashes}{name}{written}", "-handoff", "in"])
    assert understood.mistakes == []
    assert understood.settings == [(name, value), ("handoff", "in")]


def test_a_boolean_flag_never_takes_the_next_word() -> None:
    understood = every_flag().understand(["-once", "true"])
    assert told(understood) == "-once takes no separate true (write -once=true)"
    assert args_of(with_files(), "-once", "intent-a.json").files == ["intent-a.json"]


def test_a_value_may_start_with_a_dash() -> None:
    assert every_flag().understand(["-debounce", "-5s"]).settings == [("debounce", "-5s")]
    assert every_flag().understand(["-out=-once"]).settings == [("out", "-once")]


def test_a_flag_in_the_place_of_a_value_is_a_mistake() -> None:
    understood = every_flag().understand(["-handoff", "-once"])
    assert "needs a value, but -once follows" in told(understood)
    assert "write -handoff=-once" in told(understood)


def test_a_missing_value_is_a_mistake() -> None:
    assert told(every_flag().understand(["-once", "-out"])) == (
        "flag -out needs a value (write -out=VALUE)"
    )


def test_an_empty_value_is_a_value() -> None:
    assert every_flag().understand(["-schema", "", "-out="]).settings == [
        ("schema", ""),
        ("out", ""),
    ]


@pytest.mark.parametrize(
    ("word", "guess"),
    [
        ("-handof", "-handoff"),
        ("--worker", "-workers"),
        ("-max_attempts=3", "-max-attempts"),
        ("-loglevel", "-log-level"),
    ],
)
def test_an_unknown_flag_is_guessed(word: str, guess: str) -> None:
    understood = every_flag().understand([word])
    assert f"unknown flag {word.partition('=')[0]}" in told(understood)
    assert f"did you mean {guess}?" in told(understood)
    assert understood.args is None


def test_an_unknown_flag_like_no_other_points_to_the_help() -> None:
    assert "--help" in told(every_flag().understand(["-zzz"]))


def test_abbreviations_are_not_guessed() -> None:
    assert "unknown flag -hand" in told(every_flag().understand(["-hand", "x"]))


def test_several_mistakes_are_told_together_and_good_values_are_kept() -> None:
    understood = every_flag().understand(["-wrkers", "3", "-out", "o", "-timeot=1s", "-mode"])
    assert [one.message for one in understood.mistakes] == [
        "unknown flag -wrkers",
        "unknown flag -timeot",
        "flag -mode needs a value",
    ]
    assert understood.settings == [("out", "o")]


def test_a_command_behind_the_flags_is_told_to_come_first() -> None:
    assert "the command comes first: conductor-loop list" in told(
        every_flag().understand(["-once", "list"])
    )


def test_a_stray_word_is_a_mistake_where_only_flags_are_taken() -> None:
    assert "unexpected argument stray" in told(every_flag().understand(["stray"]))


@pytest.mark.parametrize("spelling", ["-h", "-help", "--help", "--h"])
def test_help_is_wanted_whatever_else_is_wrong(spelling: str) -> None:
    understood = every_flag().understand(["-zzz", spelling])
    assert understood.wants_help
    assert understood.args is None


def test_flags_may_stand_before_between_and_behind_the_files() -> None:
    args = args_of(with_files(), "--limit", "3", "a", "-wait", "b", "-tag=x", "--tag", "y")
    assert (args.files, args.limit, args.wait, args.tag) == (["a", "b"], 3, True, ["x", "y"])


def test_what_follows_two_dashes_is_never_a_flag() -> None:
    assert args_of(with_files(), "-wait", "--", "-once", "--").files == ["-once", "--"]


def test_a_single_dash_is_a_file() -> None:
    assert args_of(with_files(), "-", "--wait").files == ["-"]


@pytest.mark.parametrize(("word", "on"), [("--wait", True), ("-wait=T", True), ("-wait=0", False)])
def test_plain_switches_take_true_and_false_too(word: str, on: bool) -> None:
    assert args_of(with_files(), "a", word).wait is on


def test_a_plain_switch_takes_nothing_else() -> None:
    assert "true or false" in told(with_files().understand(["a", "--wait=maybe"]))


def test_a_value_of_the_wrong_kind_and_a_missing_file_are_usage_mistakes() -> None:
    for argv in (["a", "--limit", "many"], []):
        (mistake,) = with_files().understand(argv).mistakes
        assert mistake.exit_status == 2
        assert "submit --help" in mistake.hint


def test_help_shows_the_default_of_each_setting() -> None:
    shown = " ".join(every_flag().format_help().split())
    assert all(f"(default {o.shown_default or o.default})" in shown for o in FLAGS)
