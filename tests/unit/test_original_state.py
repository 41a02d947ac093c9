"""The original's state file: what it says is believed, what is no state file is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from conductor_loop.core.original_state import (
    FileState,
    NotOriginalState,
    OriginalStatus,
    file_name,
    read_original_state,
    write_original_state,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DIGEST = "ab" * 32


def document(**entry: object) -> bytes:
    """A state file as the original writes it: Go's times have nanoseconds and an offset."""
    path = "/data/handoff/intent-a.json"
    facts = {
        "file_path": path,
        "sha256": DIGEST,
        "size": 12,
        "processed_at": "2025-01-17T10:00:00.123456789+08:00",
        "status": "processed",
    }
    states = {path: {**facts, **entry}}
    return json.dumps(
        {"version": "1.0", "saved_at": "2025-01-17T02:00:00Z", "states": states}
    ).encode()


def test_an_entry_keeps_name_digest_and_status() -> None:
    (file,) = read_original_state(document()).files

    assert (file_name(file), file.sha256) == (b"intent-a.json", DIGEST)
    assert file.status is OriginalStatus.PROCESSED


def test_a_windows_path_gives_the_name_alone() -> None:
    (file,) = read_original_state(document(file_path="C:\\data\\handoff\\intent-a.json")).files

    assert file_name(file) == b"intent-a.json"


def test_an_empty_file_means_that_nothing_was_processed() -> None:
    assert read_original_state(b" \n").files == ()


@pytest.mark.parametrize(
    "entry", [{"sha256": "short"}, {"sha256": "Z" * 64}, {"status": "maybe"}, {"size": "12"}]
)
def test_an_unusable_entry_is_counted_and_left_out(entry: dict[str, object]) -> None:
    state = read_original_state(document(**entry))

    assert (state.files, state.unusable) == ((), 1)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"states": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_state_file_is_refused(data: bytes) -> None:
    with pytest.raises(NotOriginalState):
        read_original_state(data)


def test_another_major_version_is_refused_by_name() -> None:
    with pytest.raises(NotOriginalState, match=r"2\.0"):
        read_original_state(document().replace(b'"1.0"', b'"2.0"'))


def test_what_is_written_is_read_back_the_same() -> None:
    file = FileState("/data/handoff/intent-a.json", DIGEST, 12, NOW, OriginalStatus.FAILED)

    assert read_original_state(write_original_state([file], NOW)).files == (file,)
