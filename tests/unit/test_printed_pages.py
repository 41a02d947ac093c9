"""Reference pages are what the code prints: `python -m docs.printed` renews them."""

from __future__ import annotations

import json
import re

import jsonschema_rs
import pytest
from docs.printed import audit, codes
from docs.printed.declared_codes import declared_codes
from docs.printed.pages import DOCS, PAGES

from conductor_loop.core.security_events import KINDS

CODE_ROWS = re.compile(r"(?m)^\| `(\w+)` \|(.*)\|$")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_prints(name: str) -> None:
    # When this fails: python -m docs.printed
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()


def test_every_code_that_is_declared_in_the_source_stands_on_the_page_of_codes() -> None:
    listed = {name for name, _ in CODE_ROWS.findall(codes.page())}
    assert {one.code for one in declared_codes()} - listed == {"unknown"}
    assert listed >= KINDS.keys()


@pytest.mark.parametrize("page", ["intake.md", "audit.md"])
def test_the_page_of_codes_has_those_that_other_pages_name(page: str) -> None:
    listed = {name for name, _ in CODE_ROWS.findall(codes.page())}
    text = (DOCS / page).read_text(encoding="utf-8")
    named = {
        name
        for row in re.findall(r"(?m)^\| (`\w+`(?:, `\w+`)*) \|", text)
        for name in re.findall(r"`(\w+_\w+)`", row)
        if "_" in name
    }
    fields = {"event_id", "journal_seq", "correlation_id"}
    assert named - fields <= listed


def test_no_code_is_without_a_message_and_a_hint() -> None:
    for name, cells in CODE_ROWS.findall(codes.page()):
        assert all(cell.strip() for cell in cells.split("|")), name


def test_the_records_that_are_shown_are_valid_by_the_schema_that_is_shown() -> None:
    validator = jsonschema_rs.validator_for(audit.record_schema())
    shown = [line for line in audit.page().splitlines() if line.startswith('{"action"')]
    assert len(shown) == 2
    for line in shown:
        validator.validate(json.loads(line))
        with pytest.raises(jsonschema_rs.ValidationError):
            validator.validate({**json.loads(line), "seq": "one"})
