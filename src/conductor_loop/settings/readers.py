"""How a setting is read from text, checked, and shown again; nothing here knows which setting."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Generic, Literal, TypeVar

from conductor_loop.core.addresses import Address, parse_address
from conductor_loop.core.contract import is_label
from conductor_loop.core.durations import format_duration, parse_duration
from conductor_loop.core.rates import Rate
from conductor_loop.settings.spelling import did_you_mean

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
_DURATION = "DURATION"


class Unreadable(ValueError):
    """A value that a setting cannot take: what is wrong with it, and what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """One kind of value. `read` raises Unreadable; `show` writes what `read` reads back."""

    metavar: str
    read: Callable[[str], T]
    show: Callable[[T], str] = str
    in_toml: tuple[type, ...] = (str,)
    choices: tuple[str, ...] = ()
    """The values that a shell can complete."""
    leads_to: Literal["", "folder", "file"] = ""
    """What a path of this kind names."""


def text(metavar: str) -> Reader[str]:
    """Any text that is not empty."""
    return Reader(metavar, _filled)


def folder() -> Reader[Path]:
    """A path as given; relative ones stay relative to where the program was started."""
    return Reader("DIR", _path, leads_to="folder")


def file() -> Reader[Path]:
    """As `folder`, but of a file."""
    return Reader("FILE", _path, leads_to="file")


def choice(kind: type[E]) -> Reader[E]:
    """One word of a few, in any case."""
    words = tuple(member.value for member in kind)

    def read(given: str) -> E:
        if given.lower() not in words:
            raise Unreadable(f"{given!r} is not known", _one_of(given, words))
        return kind(given.lower())

    return Reader("|".join(words), read, lambda member: member.value, choices=words)


def switch() -> Reader[bool]:
    """True or false, in every spelling that Go's `strconv.ParseBool` takes."""
    return Reader(
        "true|false",
        read_switch,
        lambda on: "true" if on else "false",
        in_toml=(bool,),
        choices=("true", "false"),
    )


def read_switch(given: str) -> bool:
    """Read a boolean as Go does. Raises Unreadable."""
    if given in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if given in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise Unreadable(f"{given!r} is neither true nor false", "write true or false")


def number(least: int, most: int) -> Reader[int]:
    """A whole number between two bounds, both included."""

    def read(given: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,19}", given) is None:
            raise Unreadable(f"{given!r} is not a whole number", f"give {least} to {most}")
        if not least <= int(given) <= most:
            raise Unreadable(f"{given} is out of bounds", f"give {least} to {most}")
        return int(given)

    return Reader("N", read, in_toml=(int,))


def number_or_auto(least: int, most: int) -> Reader[int | Literal["auto"]]:
    """A whole number between two bounds, or the word `auto`."""
    return _or_auto(number(least, most))


def size_or_auto(least: int, most: int) -> Reader[int | Literal["auto"]]:
    """A size between two bounds, or the word `auto`."""
    return _or_auto(size(least, most))


def _or_auto(plain: Reader[int]) -> Reader[int | Literal["auto"]]:
    def read(given: str) -> int | Literal["auto"]:
        if given.lower() == "auto":
            return "auto"
        try:
            return plain.read(given)
        except Unreadable as error:
            raise Unreadable(str(error), f"{error.hint}, or auto") from None

    return Reader(f"{plain.metavar}|auto", read, in_toml=(int, str), choices=("auto",))


def duration(least: timedelta = timedelta(0), most: timedelta = timedelta.max) -> Reader[timedelta]:
    """A duration as Go writes it, from `least` to `most`."""

    def read(given: str) -> timedelta:
        try:
            value = parse_duration(given)
        except ValueError as error:
            hint = "join numbers and units (h, m, s, ms, us) without a space"
            raise Unreadable(str(error), hint) from None
        if value < least:
            raise Unreadable(f"{given} is too short", f"give {format_duration(least)} or more")
        if value > most:
            raise Unreadable(f"{given} is too long", f"give {format_duration(most)} or less")
        return value

    return Reader(_DURATION, read, format_duration)


def size(least: int, most: int) -> Reader[int]:
    """A number of bytes, plain or with KiB, MiB or GiB behind it."""
    units = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
    hint = f"give {least} to {most} bytes, e.g. 10485760 or 10MiB"

    def read(given: str) -> int:
        match = re.fullmatch(r"([0-9]{1,19}) ?(|[kmg]ib)", given.lower())
        if match is None:
            raise Unreadable(f"{given!r} is not a size", hint)
        value = int(match[1]) * units[match[2]]
        if not least <= value <= most:
            raise Unreadable(f"{given} is out of bounds", hint)
        return value

    return Reader("BYTES", read, in_toml=(int, str))


def mode(usual: int) -> Reader[int]:
    """Permissions in octal: the owner has the usual ones, and not everybody may write."""
    hint = f"give three octal digits, e.g. {usual:04o}"
    needed = usual & 0o700

    def read(given: str) -> int:
        if re.fullmatch(r"0?[0-7]{3}", given) is None:
            raise Unreadable(f"{given!r} is no mode", hint)
        value = int(given, 8)
        if value & needed != needed:
            raise Unreadable(f"{given} would keep the daemon itself out", hint)
        if value & 0o002:
            raise Unreadable(f"{given} would let everybody write", hint)
        return value

    return Reader("MODE", read, lambda value: f"{value:04o}")


def names() -> Reader[tuple[str, ...]]:
    """Names of environment variables, separated by commas."""

    def read(given: str) -> tuple[str, ...]:
        parts = tuple(part.strip() for part in given.split(",") if part.strip())
        for part in parts:
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", part) is None:
                raise Unreadable(
                    f"{part!r} is not the name of an environment variable",
                    "list names alone, e.g. HOME,KUBECONFIG; their values are taken at start",
                )
        return tuple(dict.fromkeys(parts))

    return Reader("NAME,NAME", read, ",".join, in_toml=(list,))


def namespaces() -> Reader[tuple[str, ...]]:
    """Kubernetes namespaces, separated by commas; one that ends in * stands for all like it."""

    def read(given: str) -> tuple[str, ...]:
        parts = tuple(part.strip() for part in given.split(",") if part.strip())
        for part in parts:
            if not _is_namespace_pattern(part):
                raise Unreadable(
                    f"{part!r} is neither a namespace nor the beginning of one with * behind it",
                    "write e.g. oran-sim,edge-*: lower-case letters, digits and '-'",
                )
        return tuple(dict.fromkeys(parts))

    return Reader("NAME,PREFIX*", read, ",".join, in_toml=(list,))


def _is_namespace_pattern(part: str) -> bool:
    # What begins a label becomes one with a letter behind it.
    return is_label(part[:-1] + "x" if part.endswith("*") else part)


def sha256() -> Reader[str]:
    """A SHA-256 in hex."""

    def read(given: str) -> str:
        if re.fullmatch(r"[0-9a-fA-F]{64}", given) is None:
            raise Unreadable(f"{given!r} is not a SHA-256", "give the 64 digits of sha256sum")
        return given.lower()

    return Reader("HEX", read)


def folders() -> Reader[tuple[Path, ...]]:
    """Absolute paths, separated by commas."""

    def read(given: str) -> tuple[Path, ...]:
        parts = tuple(Path(part.strip()) for part in given.split(",") if part.strip())
        for part in parts:
            if not part.is_absolute():
                raise Unreadable(f"{part} is not an absolute path", "begin it with a slash")
        return parts

    return Reader("PATH,PATH", read, lambda paths: ",".join(map(str, paths)), in_toml=(list,))


def rate() -> Reader[Rate]:
    """So many a second, minute or hour; a bare number is a second's."""
    seconds = {"s": 1, "m": 60, "h": 3600}
    units = {length: unit for unit, length in seconds.items()}

    def read(given: str) -> Rate:
        match = re.fullmatch(r"([1-9][0-9]{0,5})(?:/([smh]))?", given)
        if match is None:
            hint = "write e.g. 50/s, 600/m or 1000/h, from 1 to 999999"
            raise Unreadable(f"{given!r} is not a rate", hint)
        return Rate(int(match[1]), seconds[match[2] or "s"])

    return Reader("N/s|m|h", read, lambda r: f"{r.count}/{units[r.seconds]}", in_toml=(int, str))


def address() -> Reader[Address]:
    """Where to listen; without a host on this machine alone."""

    def read(given: str) -> Address:
        try:
            return parse_address(given)
        except ValueError as error:
            raise Unreadable(str(error), "write e.g. :8443, 127.0.0.1:8443 or [::1]:8443") from None

    return Reader("ADDR", read)


def hosts() -> Reader[tuple[str, ...]]:
    """Host names, separated by commas."""

    def read(given: str) -> tuple[str, ...]:
        parts = tuple(part.strip().lower() for part in given.split(",") if part.strip())
        for part in parts:
            if re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", part) is None:
                raise Unreadable(
                    f"{part!r} is not a host name", "write names alone, e.g. conductor.example.org"
                )
        return tuple(dict.fromkeys(parts))

    return Reader("HOST,HOST", read, ",".join, in_toml=(list,))


def unless(words: tuple[str, ...], reader: Reader[T]) -> Reader[T | None]:
    """What `reader` reads, or None for one of these words; None is shown as the first of them."""
    return Reader(
        reader.metavar,
        lambda given: None if given in words else reader.read(given),
        lambda value: words[0] if value is None else reader.show(value),
        reader.in_toml,
        reader.choices,
        reader.leads_to,
    )


def toml_text(value: object, reader: Reader[T]) -> str:
    """Write a TOML value as the text that `reader` takes. Raises Unreadable for a wrong type."""
    if type(value) not in reader.in_toml:
        kinds = " or ".join(_TOML_KINDS[kind] for kind in reader.in_toml)
        hint = f"write {kinds}"
        if reader.metavar == _DURATION:
            hint = 'write a string, e.g. "168h"' + (
                ' or "0"' if value == 0 and _takes(reader, "0") else ""
            )
        raise Unreadable(f"a {_toml_kind(value)} is no value for it", hint)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, list):
        return str(value)
    if all(isinstance(part, str) and "," not in part for part in value):
        return ",".join(value)
    raise Unreadable("not every part of the list is a name", 'write e.g. ["HOME", "KUBECONFIG"]')


def _takes(reader: Reader[T], given: str) -> bool:
    try:
        reader.read(given)
    except Unreadable:
        return False
    return True


_TOML_KINDS: dict[type, str] = {
    str: 'a string, e.g. "text"',
    bool: "true or false",
    int: "a whole number",
    list: 'a list of strings, e.g. ["HOME"]',
}


def _toml_kind(value: object) -> str:
    kinds = {str: "string", bool: "boolean", int: "whole number", list: "list", dict: "table"}
    return kinds.get(type(value), type(value).__name__)


def _path(given: str) -> Path:
    return Path(_filled(given))


def _filled(given: str) -> str:
    if not given:
        raise Unreadable("is empty", "give a value, or leave it out")
    if "\0" in given:
        raise Unreadable(f"{given!r} contains a NUL character", "no path or command can have one")
    return given


def _one_of(given: str, words: tuple[str, ...]) -> str:
    return did_you_mean(given, words) or "choose " + " or ".join(words)
