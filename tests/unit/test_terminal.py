"""What reaches the terminal cannot move its cursor, whatever it is made of."""

from __future__ import annotations

import io
import json
import re

import pytest

from conductor_loop.cli.terminal import (
    print_error,
    print_json,
    print_line,
    print_raised,
    print_table,
    table_lines,
)
from conductor_loop.core.faults import UsageError
from conductor_loop.settings import SettingsMistaken


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode", "plain ünïcode"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202etxt", "\\u202etxt"),
        ("\udcff", "\\udcff"),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_a_line_is_one_line_and_nothing_is_cut(
    text: str, shown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    print_line(text)
    assert capfd.readouterr().out == shown + "\n"


def test_columns_are_as_wide_as_their_widest_cell(capfd: pytest.CaptureFixture[str]) -> None:
    print_table(("ID", "NAME", "STATE"), [("1", "intent-long.json", "ok"), ("22", "a\n", "")])
    assert capfd.readouterr().out == (
        "ID  NAME              STATE\n1   intent-long.json  ok\n22  a\\n\n"
    )


LONG = "intent-" + "x" * 243 + ".json"


def test_one_column_is_cut_in_the_middle_so_that_rows_fit_the_screen() -> None:
    rows = [("1", LONG, "ok"), ("2", "intent-a.json", "ok")]
    head, first, second = table_lines(("ID", "NAME", "STATE"), rows, cut="NAME", width=80)
    assert len(first) <= 80
    assert re.fullmatch(r"1   intent-x+…x+\.json  ok", first)
    assert len(first) - len("ok") == head.index("STATE") == second.index("ok")


def test_on_the_narrowest_screen_forty_characters_stay() -> None:
    (_, line) = table_lines(("NAME",), [(LONG,)], cut="NAME", width=10)
    assert len(line) == 40
    (_, line) = table_lines(("NAME",), [("x" * 40,)], cut="NAME", width=10)
    assert line == "x" * 40


def test_where_there_is_no_screen_nothing_is_cut(capfd: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "ID"), [(LONG, "1")], cut="NAME")
    assert LONG in capfd.readouterr().out


def test_json_is_plain_ascii(capfd: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "ü\u202e\n"})
    written = capfd.readouterr().out
    assert written.isascii()
    assert json.loads(written) == {"name": "ü\u202e\n"}


def test_an_error_is_two_lines_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    print_error("it\nbroke", "mend it")
    print_error("no hint")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "ERROR: it\\nbroke\nhint: mend it\nERROR: no hint\n"


def test_gathered_mistakes_are_told_one_by_one(capfd: pytest.CaptureFixture[str]) -> None:
    print_raised(SettingsMistaken([UsageError("a", hint="b"), UsageError("c", hint="d")]))
    assert capfd.readouterr().err == "ERROR: a\nhint: b\nERROR: c\nhint: d\n"


def test_what_the_terminal_cannot_encode_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", write_through=True) as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        print_line("ünï")
        monkeypatch.undo()
        assert raw.getvalue() == b"\\xfcn\\xef\n"
