"""Events as they are journalled: what is written comes back, also from other versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conductor_loop.core.events import Admitted, Event, Published, Run, Started, decode, encode
from tests.fakes import BEGINNING

EVENTS: tuple[type[msgspec.Struct], ...] = get_args(Event)
PLAIN: dict[object, st.SearchStrategy[object]] = {
    # A lone surrogate is no text that JSON could hold; names come as bytes.
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    int: st.integers(-(2**63), 2**63 - 1),
    bytes: st.binary(max_size=20),
    datetime: st.datetimes(timezones=st.just(UTC)),
    timedelta: st.timedeltas(timedelta(days=-400), timedelta(days=4000)),
    NoneType: st.none(),
}


def values(kind: object) -> st.SearchStrategy[object]:
    """Any value that a field of this type can hold."""
    if kind in PLAIN:
        return PLAIN[kind]
    if isinstance(kind, UnionType):
        return st.one_of(*map(values, get_args(kind)))
    if get_origin(kind) is tuple:
        return st.lists(values(get_args(kind)[0]), max_size=2).map(tuple)
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        return st.dictionaries(values(key), values(value), max_size=2)
    assert isinstance(kind, type)
    if issubclass(kind, StrEnum):
        return st.sampled_from(list(kind))
    assert issubclass(kind, msgspec.Struct)
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: values(hints[name]) for name in kind.__struct_fields__})


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_every_event_survives_being_written(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(values(kind))
    assert isinstance(event, kind)

    assert decode(encode(event)) == event


def test_a_retry_without_a_reason_as_older_versions_wrote_it_still_opens() -> None:
    old = (
        b'{"type":"Admitted","receipt":{"name":"aW50ZW50","received_at":"2025-01-01T00:00:00Z"},'
        b'"namespace":"a","target":"b","priority":5,"retry_of":"01","retried_by":"ann"}'
    )

    event = decode(old)

    assert isinstance(event, Admitted)
    assert (event.retried_by, event.retry_why) == ("ann", "")


def test_an_event_is_json_under_its_own_name() -> None:
    assert json.loads(encode(Started(3))) == {"type": "Started", "attempt": 3}


def test_a_field_of_a_later_version_is_ignored() -> None:
    assert decode(b'{"type":"Started","attempt":3,"mood":{"good":[1]}}') == Started(3)


def test_a_field_that_an_earlier_version_did_not_write_has_its_default() -> None:
    run = Run(1, 0, BEGINNING, timedelta(seconds=2.5))
    written = json.loads(encode(Published(run)))

    assert set(written) == {"type", "run"}
    assert set(written["run"]) == {"attempt", "worker", "started_at", "duration"}
    assert decode(json.dumps(written).encode()) == Published(run, None, "", ())


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"Teleported","attempt":3}',
        b'{"attempt":3}',
        b'{"type":"Started"}',
        b'{"type":"Started","attempt":"3"}',
        b"[]",
    ],
    ids=["unknown tag", "no tag", "missing field", "wrong type", "no object"],
)
def test_what_this_version_does_not_know_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(data)
