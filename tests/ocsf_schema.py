"""The published OCSF schema, held against events: its JSON Schema, and what that cannot say."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict, cast

import jsonschema_rs
from ocsf_json_schema import (  # type: ignore[import-untyped] # it has no types
    OcsfJsonSchemaEmbedded,
    get_ocsf_schema,
)

_CAPTIONED = ("activity", "severity", "status")


def faults(event: Mapping[str, object]) -> list[str]:
    """What the version that an event names itself finds wrong with it; unknown fields count."""
    metadata = cast(Mapping[str, object], event["metadata"])
    profiles = tuple(cast(Sequence[str], metadata.get("profiles", ())))
    version, uid = str(metadata["version"]), cast(int, event["class_uid"])
    found = _validator(version, uid, profiles).iter_errors(dict(event))
    return [f"{list(error.instance_path)}: {error.message}" for error in found] + [
        *_other_profiles(version, uid, profiles),
        *_wrong_captions(event, version, uid),
    ]


def _other_profiles(version: str, uid: int, profiles: Sequence[str]) -> Iterator[str]:
    offered = _class(version, uid)["profiles"]
    yield from (f"class {uid} has no profile {name}" for name in profiles if name not in offered)


def _wrong_captions(event: Mapping[str, object], version: str, uid: int) -> Iterator[str]:
    """The text beside a number is the number's caption; for 99, "other", it is our own."""
    for name in _CAPTIONED:
        number = event[f"{name}_id"]
        told = event.get("activity_name" if name == "activity" else name)
        captions = _class(version, uid)["attributes"][f"{name}_id"]["enum"]
        if number == 99 and not told:
            yield f"{name}_id is 99, and nothing says what that is"
        if number != 99 and told not in (None, captions[str(number)]["caption"]):
            yield f"{name}_id {number} is {captions[str(number)]['caption']}, not {told}"


class _Enum(TypedDict):
    enum: Mapping[str, Mapping[str, str]]


class _Class(TypedDict):
    uid: int
    name: str
    profiles: Sequence[str]
    attributes: Mapping[str, _Enum]


@functools.cache
def _published(version: str) -> Mapping[str, Mapping[str, _Class]]:
    return cast(Mapping[str, Mapping[str, _Class]], get_ocsf_schema(version=version))


@functools.cache
def _class(version: str, uid: int) -> _Class:
    (found,) = (each for each in _published(version)["classes"].values() if each["uid"] == uid)
    return found


@functools.cache
def _validator(
    version: str, uid: int, profiles: tuple[str, ...]
) -> jsonschema_rs.Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(_published(version))
    found = schema.get_class_schema(_class(version, uid)["name"], list(profiles))
    return jsonschema_rs.Draft202012Validator(found)
