"""What porch may see, run and change; whatever is not named here is closed to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

import conductor_loop
from conductor_loop.adapters.sandbox.confinement import Rule

# Programs and libraries of a system, wherever a distribution keeps them.
_PROGRAMS = (
    *(b"/usr", b"/bin", b"/sbin", b"/lib", b"/lib32", b"/lib64", b"/libx32", b"/opt"),
    *(b"/nix/store", b"/gnu/store", b"/run/current-system", b"/snap"),
)
# Names, addresses, certificates, time zones. Never /etc as a whole: with a kept capability the
# shadow file would be readable, and the daemon's own settings and keys may lie there.
_ETC = (
    *(b"passwd", b"group", b"nsswitch.conf", b"hosts", b"host.conf", b"resolv.conf", b"gai.conf"),
    *(b"services", b"protocols", b"localtime", b"timezone", b"os-release", b"mime.types"),
    *(b"ld.so.cache", b"ld.so.conf", b"ld.so.conf.d", b"ld.so.preload", b"alternatives"),
    *(b"ssl/certs", b"ssl/openssl.cnf", b"ssl/cert.pem", b"pki/tls/certs", b"pki/ca-trust"),
    *(b"ca-certificates", b"crypto-policies", b"gitconfig", b"locale.conf", b"locale.alias"),
)
_SEEN = (
    *(b"/proc", b"/sys/devices/system/cpu", b"/sys/devices/system/node"),
    *(b"/sys/kernel/mm/transparent_hugepage", b"/sys/fs/cgroup"),
)
_DEVICES = (b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/random", b"/dev/urandom")


@dataclass(frozen=True, slots=True)
class Places:
    """The paths that decide what is open and what is closed."""

    out: bytes
    work: Sequence[bytes]
    """Where copies of intents and porch's temporary files are."""
    closed: Sequence[bytes]
    """Handoff, state and keys: no rule that we choose covers them."""
    read: Sequence[bytes]
    write: Sequence[bytes]
    """What the operator opens besides; no exception is made of it."""


def child_rules(porch: bytes, places: Places) -> tuple[Rule, ...]:
    """Everything that porch may touch."""
    closed = [os.path.realpath(path) for path in places.closed]
    return (
        *system_rules(closed),
        *_porch(porch, closed),
        *(("read", path) for path in places.read),
        ("data", places.out),
        *(("data", path) for path in places.work),
        *(("write", path) for path in places.write),
    )


def is_open_by_folder(program: bytes, rules: Iterable[Rule]) -> bool:
    """Whether rules let another file be run in the place of a program, not only the one there.

    A rule for a file holds for that file, wherever its name leads later.
    """
    path = os.path.realpath(program)
    folders = (os.path.realpath(path) for grant, path in rules if grant in ("read", "write"))
    return any(folder != path and _covers(folder, path) for folder in folders)


def system_rules(closed: Sequence[bytes] = ()) -> Iterator[Rule]:
    """What every program needs of the system, and this one's own interpreter and package."""
    interpreter = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    package = Path(conductor_loop.__file__).parent
    for path in (*_PROGRAMS, *sorted(map(os.fsencode, interpreter)), os.fsencode(package)):
        yield from (("read", open_path) for open_path in _without(path, closed))
    # An import lists the folder before it looks for the package there.
    yield "list", os.fsencode(package.parent)
    for name in _ETC:
        yield "see", b"/etc/" + name
    # Name resolution is often a link to a file that is replaced as a whole.
    resolver = os.path.dirname(os.path.realpath(b"/etc/resolv.conf"))
    if resolver != b"/etc":
        yield "see", resolver
    yield from (("see", path) for path in _SEEN)
    yield from (("data", path) for path in _DEVICES)


def daemon_rules(places: Places, porch: bytes | None, own: Sequence[bytes]) -> Iterator[Rule]:
    """What the daemon itself may touch: its folders, and all that it hands on to porch.

    A rule holds for the folder that is there now. Handoff and OUT may be replaced under the
    running daemon, so what they stand in is opened, unless that holds the system's own files too.
    """
    yield from system_rules()
    # Where the libraries lie; not always within the interpreter's own folders (pip --user).
    yield "read", os.fsencode(Path(msgspec.__file__).parents[1])
    for folder in (*places.closed, places.out):
        yield "keep", folder
        parent = os.path.dirname(os.path.realpath(folder))
        if not _covers(parent, b"/etc") and not _covers(b"/etc", parent):
            yield "keep", parent
    yield from (("data", path) for path in (*own, *places.work))
    if porch is not None:
        yield from child_rules(porch, places)


def overlaps(places: Places) -> Iterator[tuple[bytes, bytes]]:
    """What the operator opened although it lies on a way to what is closed: (opened, closed)."""
    for opened in (places.out, *places.read, *places.write):
        for closed in places.closed:
            if _covers(os.path.realpath(opened), os.path.realpath(closed)):
                yield opened, closed


def _porch(porch: bytes, closed: Sequence[bytes]) -> Iterator[Rule]:
    """The program, and what lies beside it unless that is more than its own."""
    for path in {porch, os.path.realpath(porch)}:
        folder = os.path.dirname(path)
        is_its_own = not any(_covers(folder, each) for each in closed)
        yield "read", folder if is_its_own else path


def _without(path: bytes, closed: Sequence[bytes]) -> Iterable[bytes]:
    """A folder, or everything in it but what is closed."""
    real = os.path.realpath(path)
    if any(_covers(each, real) for each in closed):
        return
    if not any(_covers(real, each) for each in closed):
        yield path
        return
    for name in os.listdir(path):
        yield from _without(os.path.join(path, name), closed)


def _covers(folder: bytes, path: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
