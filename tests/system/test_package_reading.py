"""What the page tells of a package when OUT is slow to answer, long, or a link."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.core.events import Output
from conductor_loop.web.packages import Packages
from tests.fakes import in_a_loop
from tests.system.daemon import Site, intent
from tests.system.test_http import Server, serving

# sys/fanotify.h
_CLASS_CONTENT, _MARK_ADD, _OPEN_PERM, _AT_FDCWD = 0x04, 0x01, 0x0001_0000, -100


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@contextlib.contextmanager
def nobody_lets_open(path: Path) -> Iterator[None]:
    """Whoever opens a file in the meantime hangs in the kernel, as on a server that is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    asked = libc.fanotify_init(_CLASS_CONTENT, os.O_RDONLY)
    if asked < 0:
        pytest.skip(f"no permission events of fanotify: {os.strerror(ctypes.get_errno())}")
    try:
        mask = ctypes.c_uint64(_OPEN_PERM)
        if libc.fanotify_mark(asked, _MARK_ADD, mask, _AT_FDCWD, os.fsencode(path)):
            pytest.skip(f"no permission events of fanotify: {os.strerror(ctypes.get_errno())}")
        yield
    finally:
        os.close(asked)


def story_of(site: Site, name: str) -> str:
    return f"/api/intents/{site.intent_id(name)}"


def told(server: Server, story: str) -> dict[str, list[dict[str, str]]]:
    answer: dict[str, list[dict[str, str]]] = json.loads(server.get(story).body)
    return answer


def test_an_out_that_hangs_is_said_and_stops_no_other_question(site: Site) -> None:
    with serving(site) as server:
        site.hand_over_all({"intent-a.json": intent("amf")})
        site.wait_for_final(1)
        delivered = site.verdict("intent-a.json")["outputs"]
        story = story_of(site, "intent-a.json")
        with nobody_lets_open(site.out / delivered[0]["path"]):
            hung = told(server, story)
            # Its thread hangs on; the journal's answers all the same.
            listed = server.get("/api/intents")
            again = told(server, story)
        after = told(server, story)

    assert {each["state"] for each in hung["outputs"]} == {"not known now"}
    assert [each["sha256"] for each in hung["outputs"]] == [each["sha256"] for each in delivered]
    assert "did not answer" in str(hung["outputs_notes"])
    assert hung["steps"]
    assert listed.status == 200
    assert again["outputs_notes"] == hung["outputs_notes"]
    assert {each["state"] for each in after["outputs"]} == {"as delivered"}
    assert after["outputs_notes"] == []


@pytest.mark.parametrize(("count", "notes"), [(50, []), (63, ["and 13 more files"])])
@in_a_loop
async def test_files_that_are_not_shown_are_counted(
    tmp_path: Path, count: int, notes: list[str]
) -> None:
    digest = hashlib.sha256(b"same").hexdigest()
    outputs = [Output(f"{number}.yaml", digest) for number in range(count)]
    for output in outputs:
        (tmp_path / output.path).write_bytes(b"same")

    shown = await Packages(str(tmp_path)).show(outputs)

    assert shown["outputs_notes"] == notes
    assert shown["outputs"] == [
        {"path": f"{number}.yaml", "sha256": digest, "state": "as delivered", "text": "same"}
        for number in range(50)
    ]


def test_an_out_that_is_a_link_is_shown_with_what_is_in_it(site: Site) -> None:
    elsewhere = site.top / "elsewhere"
    elsewhere.mkdir()
    site.out.symlink_to(elsewhere)
    with serving(site) as server:
        site.hand_over_all({"intent-a.json": intent("amf")})
        site.wait_for_final(1)
        outputs = told(server, story_of(site, "intent-a.json"))["outputs"]

    assert outputs
    assert {each["state"] for each in outputs} == {"as delivered"}
    assert all(each["text"] for each in outputs)
