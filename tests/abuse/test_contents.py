"""Hostile bytes in files that look like any other (rows 13 to 16, 22 and 42 of the table)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conductor_loop.core.hidden import find_hidden
from conductor_loop.core.states import State
from tests.abuse.attacked import assert_refused, assert_serves, tree
from tests.system.daemon import Site, intent

MEBIBYTE = 1 << 20
GROWTH_KIB = 64 << 10


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


TRAVERSALS = {
    "target": ["../../escaped", "..", ".", "/etc/escaped", "a/b", "a\\b", "%2e%2e%2fescaped", "~"],
    "namespace": ["..", "../escaped", "a/../../escaped", "kube-system/..", "A", ""],
    "correlation_id": ["../escaped", "..", ".", "a/b", "a\\b", "$HOME"],
}


@pytest.mark.parametrize("mode", ["direct", "structured"])
def test_row_13_what_climbs_out_of_a_folder_is_refused(site: Site, mode: str) -> None:
    cases = [(field, bad) for field, many in TRAVERSALS.items() for bad in many]
    site.hand_over_all(
        {f"intent-{n:02}.json": intent(**{field: bad}) for n, (field, bad) in enumerate(cases)}  # type: ignore[arg-type]
    )
    before = tree(site.top)
    assert site.once("-mode", mode).returncode == 8
    for number, (field, _) in enumerate(cases):
        verdict = site.verdict(f"intent-{number:02}.json")
        assert verdict["status"] == "failed"
        assert {fault["pointer"] for fault in verdict["error"]["faults"]} == {f"/{field}"}
    grown = {path for path in tree(site.top) - before if not path.startswith("handoff/")}
    assert grown <= {"out"}
    assert not any("escaped" in path for path in tree(site.top.parent))


LITERALS = ["$(touch pwned)", "`touch pwned`", "; touch pwned", "--out=/", "-rf", "%s%n", "${HOME}"]


def test_row_14_what_a_shell_would_run_is_text(site: Site) -> None:
    seen = site.porch('printf "%s\\n" "$@" >> "$top/ledger"; cp "$2" "$top/$name"')
    files = {
        f"intent-{n}.json": intent(f"t{n}", reason=text, description=text, metadata={text: text})
        for n, text in enumerate(LITERALS)
    }
    files |= {
        "intent-$(touch pwned).json": intent("shell"),
        "intent---flag.json": intent("flag"),
        "intent-;touch pwned;.json": intent("semicolon"),
    }
    site.hand_over_all(files)
    assert site.once("-porch", seen).returncode == 0
    assert not [path for path in tree(site.top) if path.endswith("pwned")]
    words = site.ledger()
    assert words.count("-intent") == words.count("-out") == len(files)
    assert len(words) == 4 * len(files)
    for name, body in files.items():
        assert (site.top / name).read_bytes() == body


def spoiled(replacement: bytes) -> bytes:
    """An intent that is in order but for one value."""
    return intent(reason="SPOILED").replace(b'"SPOILED"', replacement)


HOSTILE = {
    "json_duplicate_key": intent()[:-1] + b', "replicas": 99}',
    "json_case_clash": intent()[:-1] + b', "Replicas": 99}',
    "json_not_a_number": spoiled(b"NaN"),
    "json_number_too_great": spoiled(b"1e999"),
    "json_number_too_long": spoiled(b"9" * 5_000),
    "json_bom": b"\xef\xbb\xbf" + intent(),
    "json_utf16": intent().decode().encode("utf-16"),
    "json_lone_surrogate": spoiled(b'"\\ud800"'),
    "json_nul": spoiled(b'"\0"'),
    "json_bidi_control": spoiled('"\u202e"'.encode()),
    "json_zero_width": spoiled('"\u200b"'.encode()),
    "json_tag_character": spoiled('"\U000e0041"'.encode()),
    "json_control_character": spoiled(b'"\\u001b[2J"'),
    "json_not_utf8": spoiled(b'"\xff"'),
    "json_extra_data": intent() + intent(),
    "json_cut_short": intent()[:-1],
    "json_syntax": b"replicas: 3",
}


def test_row_15_each_way_to_be_wrong_ends_failed_under_its_own_code(site: Site) -> None:
    with site.daemon() as daemon:
        for code, body in HOSTILE.items():
            site.hand_over(f"intent-{code}.json", body)
        for code, body in HOSTILE.items():
            assert_refused(site, f"intent-{code}.json", body, code)
        assert_serves(site, daemon)


def test_row_16_what_would_cost_more_than_its_bytes_is_counted_before_it_is_parsed(
    site: Site,
) -> None:
    bombs = {
        "deep": (b"[" * 100_000 + b"]" * 100_000, "json_too_deep"),
        "objects": (b"[{}," * (10 * MEBIBYTE // 4), "json_too_deep"),
        "commas": (b"[" + b"0," * (5 * MEBIBYTE - 2) + b"0]", "json_too_many_values"),
    }
    with site.daemon() as daemon:
        site.hand_over("intent-first.json", b" " * 10 * MEBIBYTE)
        site.verdict("intent-first.json")
        before = daemon.resident_kilobytes()
        for name, (body, code) in bombs.items():
            site.hand_over(f"intent-{name}.json", body)
            assert_refused(site, f"intent-{name}.json", body, code)
        # One such document as Python objects would be some 300 MiB.
        assert daemon.resident_kilobytes() - before < GROWTH_KIB
        assert_serves(site, daemon)


def test_row_22_the_same_bytes_again_are_told_by_name_target_and_content(site: Site) -> None:
    body = intent()
    ledger = site.porch("echo $name >> $top/ledger")
    flags = ("-porch", ledger)
    for name in ("intent-a.json", "intent-a.json", "intent-b.json"):
        site.hand_over_all({name: body})
        assert site.once(*flags).returncode == 0
    assert site.ledger() == ["intent-a.json", "intent-b.json"]
    assert site.counts() == {State.PUBLISHED: 2, State.DUPLICATE: 1}


def test_row_42_an_intent_that_crashes_porch_ends_failed_and_the_others_go_on(site: Site) -> None:
    porch = site.porch(
        'grep -q poison "$2" && { echo crash >> "$top/ledger"; kill -SEGV $$; }; exit 0'
    )
    files = {f"intent-{n}.json": intent(f"t{n}") for n in range(5)}
    files["intent-poison.json"] = intent("poison")
    with site.daemon("-porch", porch) as daemon:
        site.hand_over_all(files)
        site.wait_for_final(len(files))
        verdict = site.verdict("intent-poison.json")
        assert verdict["status"] == "failed"
        assert [attempt["outcome"] for attempt in verdict["attempts"]] == ["crashed"] * 3
        assert site.ledger() == ["crash"] * 3
        assert site.counts() == {State.PUBLISHED: 5, State.FAILED: 1}
        assert site.is_healthy()
        assert_serves(site, daemon)


def test_row_15_a_verdict_of_hostile_bytes_is_plain_json_without_them(site: Site) -> None:
    site.hand_over_all({f"intent-{code}.json": body for code, body in HOSTILE.items()})
    assert site.once().returncode == 8
    for name in site.names_in("status"):
        path = site.handoff / "status" / name
        if path.is_file():
            text = path.read_text()
            assert find_hidden(text) is None
            assert isinstance(json.loads(text), dict)
    assert not os.path.exists(site.out / "oran-sim")
