"""What a backup file holds: a tar of known names, encrypted with age (age-encryption.org/v1)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

import pyrage  # type: ignore[import-untyped] # its stubs are a package of their own

from conductor_loop.core.audit.naming import LOG_FILE
from conductor_loop.core.faults import CannotStart, UsageError

_MEMBER = re.compile(
    rf"(manifest\.json|journal\.db|keys/[A-Za-z0-9][A-Za-z0-9._-]*|audit/{LOG_FILE})"
)
_COPIED_AT_ONCE = 1 << 20
_IDENTITY_HINT = "an age identity (AGE-SECRET-KEY-1...), a line each, or an SSH private key"


class Recipient(Protocol):
    """Whom something is encrypted to."""


class Identity(Protocol):
    """Who can decrypt."""


def read_recipients(lines: Sequence[str]) -> list[Recipient]:
    """Recipients as age writes them: `age1...` or an SSH public key. Raises UsageError."""
    kept = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not kept:
        raise UsageError(
            "a backup needs somebody who can read it",
            hint="name -backup-recipients FILE, with a line of `age-keygen -y` for each",
        )
    return [_recipient(line) for line in kept]


def read_recipients_file(file: Path | None, more: Sequence[str] = ()) -> list[Recipient]:
    """The recipients in a file and those given beside it. Raises UsageError."""
    if file is None:
        return read_recipients(more)
    try:
        return read_recipients([*more, *file.read_text(encoding="utf-8").splitlines()])
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}", hint="check -backup-recipients") from error


def _recipient(line: str) -> Recipient:
    kind = pyrage.ssh if line.startswith("ssh-") else pyrage.x25519
    try:
        recipient: Recipient = kind.Recipient.from_str(line)
    except pyrage.RecipientError as error:
        raise UsageError(
            f"{line[:40]!r} is no recipient: {error}", hint="age1..., or an SSH public key"
        ) from error
    return recipient


def read_identities(data: bytes) -> list[Identity]:
    """The private side of recipients, from the bytes of a file. Raises UsageError."""
    try:
        if data.startswith(b"-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode("ascii", "replace").splitlines()]
        kept = [line for line in lines if line and not line.startswith("#")]
        found = [pyrage.x25519.Identity.from_str(line) for line in kept]
    except pyrage.IdentityError as error:
        raise UsageError(f"no identity: {error}", hint=_IDENTITY_HINT) from error
    if not found:
        raise UsageError("the file holds no identity", hint=_IDENTITY_HINT)
    return found


def passing_identity() -> tuple[Identity, Recipient]:
    """An identity that is never written down: it proves a backup right after it was made."""
    identity = pyrage.x25519.Identity.generate()
    return identity, identity.to_public()


@dataclass(frozen=True, slots=True)
class Part:
    """What a backup takes of a file: so many bytes from its beginning."""

    path: Path
    size: int


def whole(path: Path) -> Part:
    """All of a file that nobody writes to."""
    return Part(path, path.stat().st_size)


def seal(
    parts: Mapping[str, Part], destination: IO[bytes], recipients: Sequence[Recipient]
) -> dict[str, str]:
    """Pack parts under their names and encrypt that as a stream: its size does not matter.

    Returns the SHA-256 of each, in hex. Raises OSError; FileNotFoundError when one is gone.
    """
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        packing = pool.submit(_pack, parts, writing)
        with open(reading, "rb") as plain:
            pyrage.encrypt_io(plain, destination, list(recipients))
    return packing.result()


def unseal(source: Path, folder: Path, identities: Sequence[Identity]) -> None:
    """Decrypt a backup and take the known names out of it, and nothing else; as a stream.

    Raises CannotStart when it is not for us, was altered, or is none.
    """

    def take(member: tarfile.TarInfo, content: IO[bytes]) -> None:
        path = folder / member.name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with path.open("xb") as out:
            path.chmod(0o600)
            shutil.copyfileobj(content, out, _COPIED_AT_ONCE)

    _each_member(source, identities, take)


def digests(source: Path, identities: Sequence[Identity]) -> dict[str, str]:
    """The SHA-256, in hex, of each part of a backup. Raises CannotStart as `unseal` does."""
    found: dict[str, str] = {}

    def take(member: tarfile.TarInfo, content: IO[bytes]) -> None:
        digest = hashlib.sha256()
        while data := content.read(_COPIED_AT_ONCE):
            digest.update(data)
        found[member.name] = digest.hexdigest()

    _each_member(source, identities, take)
    return found


class _Read:
    """Bytes on their way, and their hash."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        data = self._content.read(size)
        self.digest.update(data)
        return data


def _pack(parts: Mapping[str, Part], destination: int) -> dict[str, str]:
    found = {}
    with open(destination, "wb") as raw, tarfile.open(fileobj=raw, mode="w|") as tar:
        for name, part in parts.items():
            with part.path.open("rb") as content:
                told, read = tarfile.TarInfo(name), _Read(content)
                told.size, told.mode = part.size, 0o600
                tar.addfile(told, cast(IO[bytes], read))
            found[name] = read.digest.hexdigest()
    return found


def _each_member(
    source: Path,
    identities: Sequence[Identity],
    take: Callable[[tarfile.TarInfo, IO[bytes]], None],
) -> None:
    reading, writing = os.pipe()
    malformed = ""
    with ThreadPoolExecutor(1) as pool:
        decrypting = pool.submit(_decrypt, source, writing, identities)
        with open(reading, "rb") as plain:
            try:
                malformed = _walk(plain, take)
            except tarfile.TarError as error:
                malformed = str(error)
            # To its end: only there is it known that nothing was cut off.
            while plain.read(_COPIED_AT_ONCE):
                pass
    decrypting.result()
    if malformed:
        raise CannotStart(
            f"{source.name} is no backup of a journal: {malformed}",
            code="backup_malformed",
            hint="name a file that `conductor-loop backup` wrote",
        )


def _walk(plain: IO[bytes], take: Callable[[tarfile.TarInfo, IO[bytes]], None]) -> str:
    """Take every member; what is wrong, if anything is."""
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or _MEMBER.fullmatch(member.name) is None:
                return f"it holds {member.name!r}"
            take(member, content)
    return ""


def _decrypt(source: Path, destination: int, identities: Sequence[Identity]) -> None:
    try:
        with open(destination, "wb") as plain, source.open("rb") as sealed:
            pyrage.decrypt_io(sealed, plain, list(identities))
    except (pyrage.DecryptError, OSError) as error:
        raise CannotStart(
            f"{source} cannot be decrypted: {error}",
            code="backup_unreadable",
            hint="give the identity of one of its recipients; an altered backup does not open",
        ) from error
