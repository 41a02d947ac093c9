"""What a backup file holds: a tar of known names, encrypted with age (age-encryption.org/v1)."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

import pyrage  # type: ignore[import-untyped] # its stubs are a package of their own

from conductor_loop.core.faults import CannotStart, UsageError

_MEMBER = re.compile(r"(manifest\.json|journal\.db|keys/[A-Za-z0-9][A-Za-z0-9._-]*)")
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


def pack(files: dict[str, Path], destination: Path) -> None:
    """Write files into a tar, under their names in it."""
    with destination.open("xb") as raw, tarfile.open(fileobj=raw, mode="w") as tar:
        for name, path in files.items():
            with path.open("rb") as content:
                told = tarfile.TarInfo(name)
                told.size, told.mode = path.stat().st_size, 0o600
                tar.addfile(told, content)


def encrypt(source: Path, destination: IO[bytes], recipients: Sequence[Recipient]) -> None:
    """Encrypt a file as a stream: its size does not matter."""
    with source.open("rb") as plain:
        pyrage.encrypt_io(plain, destination, list(recipients))


def decrypt(source: Path, destination: Path, identities: Sequence[Identity]) -> None:
    """Decrypt a file as a stream. Raises CannotStart when it is not for us, or was altered."""
    try:
        with source.open("rb") as sealed, destination.open("xb") as plain:
            pyrage.decrypt_io(sealed, plain, list(identities))
    except (pyrage.DecryptError, OSError) as error:
        raise CannotStart(
            f"{source} cannot be decrypted: {error}",
            code="backup_unreadable",
            hint="give the identity of one of its recipients; an altered backup does not open",
        ) from error


def unpack(source: Path, folder: Path) -> None:
    """Take the known names out of a tar, and nothing else. Raises CannotStart."""
    (folder / "keys").mkdir(mode=0o700)
    try:
        with tarfile.open(source, mode="r:") as tar:
            for member in tar:
                _take(tar, member, folder)
    except tarfile.TarError as error:
        raise _no_backup(source, str(error)) from error


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    content = tar.extractfile(member) if member.isreg() else None
    if content is None or _MEMBER.fullmatch(member.name) is None:
        raise _no_backup(folder, f"it holds {member.name!r}")
    path = folder / member.name
    with path.open("xb") as out:
        path.chmod(0o600)
        while data := content.read(_COPIED_AT_ONCE):
            out.write(data)


def _no_backup(path: Path, why: str) -> CannotStart:
    return CannotStart(
        f"{path.name} is no backup of a journal: {why}",
        code="backup_malformed",
        hint="name a file that `conductor-loop backup` wrote",
    )
