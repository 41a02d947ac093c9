"""The key that signs, in STATE-DIR/keys: made on first run, rotated, never left to others.

A new key goes in by three steps, each durable before the next: `next.pem`, the chain of custody
that names it, `next.pem` renamed to `signing.pem`. What the chain says last is the truth.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from conductor_loop import disk
from conductor_loop.adapters.keys.formats import private_pem
from conductor_loop.adapters.keys.private import (
    OTHERS,
    SIGNING,
    Private,
    given_key,
    new_private,
    own_key,
    parsed,
    read_own,
)
from conductor_loop.adapters.keys.public import (
    CHAIN,
    FOLDER,
    KeysUnusable,
    PublicKeys,
    keys_of,
    read_chain,
)
from conductor_loop.core.custody import Custody, encode_chain
from conductor_loop.core.jws import b64url
from conductor_loop.core.wording import timestamp

_log = logging.getLogger("conductor_loop.keys")

_NEXT, _CHAIN, _CHAIN_NEXT = b"next.pem", CHAIN.encode(), b"custody.new"
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


class KeyInUse:
    """`ports.Signer` for whoever has no lock: what a daemon signs with now, changed by nobody."""

    def __init__(self, private: Private) -> None:
        self._private = private
        self.kid, self.public = private.kid, private.public

    def sign(self, message: bytes) -> bytes:
        """See `ports.Signer`."""
        return self._private.key.sign(message)


def key_in_use(state_dir: Path, *, given: Path | None = None) -> KeyInUse:
    """The key that the chain of custody names last. Raises KeysUnusable when it is not there."""
    path = state_dir / FOLDER
    private = given_key(given) if given is not None else None
    if private is None:
        try:
            folder = disk.open_folder(os.fspath(path))
            try:
                private = own_key(folder, path)
            finally:
                os.close(folder)
        except OSError as error:
            raise KeysUnusable(
                f"cannot read the signing key in {path}: {error.strerror}",
                hint="run it as the daemon's user, with the daemon's -handoff or -state-dir",
                code="key_unreadable",
            ) from error
    chain = read_chain(state_dir)
    if private is None or not chain or chain[-1].kid != private.kid:
        raise KeysUnusable(
            f"the key in {path} is not the one in use",
            hint="start the daemon: it makes or recognises its key",
        )
    return KeyInUse(private)


class Keys:
    """`ports.Signer` and `core.jws.Verifier`: signs with the newest key, knows every earlier."""

    def __init__(
        self, folder: Path, private: Private, *, given: Path | None, recorded: Custody | None
    ) -> None:
        self._folder = folder
        self._given = given
        self.recorded = recorded
        """What the chain of custody got when the key was opened, if that was anything."""
        self._use(private)

    @property
    def kid(self) -> str:
        """See `ports.Signer`."""
        return self._kid

    @property
    def public(self) -> bytes:
        """See `ports.Signer`."""
        return self._private.public

    def sign(self, message: bytes) -> bytes:
        """See `ports.Signer`."""
        return self._private.key.sign(message)

    def knows(self, kid: str) -> bool:
        """See `core.jws.Verifier`."""
        return self._public.knows(kid)

    def is_signed(self, kid: str, message: bytes, signature: bytes) -> bool:
        """See `core.jws.Verifier`."""
        return self._public.is_signed(kid, message, signature)

    def rotate(self, now: datetime, by: str) -> str:
        """Sign with a new key from now on, vouched for by this one; return its name.

        Raises KeysUnusable when the key is not ours to replace, or cannot be written.
        """
        if self._given is not None:
            raise _rotated_elsewhere()
        new = new_private()
        with _opened(self._folder) as folder:
            # An earlier try may have failed after the chain had named its key.
            _finish_rotation(folder, self._folder.parent)
            old = own_key(folder, self._folder) or self._private
            _recognise(folder, self._folder, old, read_chain(self._folder.parent), now, by)
            _install(folder, self._folder, new, _Change("rotated", now, by, old))
        self._use(new)
        return new.kid

    def newly_given(self) -> Private | None:
        """The key that -key-file has now, unless it is the one that signs. Raises KeysUnusable."""
        if self._given is None:
            return None
        private = given_key(self._given)
        return None if private.kid == self.kid else private

    def take(self, given: Private, now: datetime, by: str) -> None:
        """Sign with a newly given key from now on, vouched for by the one before it.

        Raises KeysUnusable when that cannot be recorded, and then nothing has changed.
        """
        with _opened(self._folder) as folder:
            _take_over(folder, self._folder, given, self._private, now, by)
        self._use(given)

    def _use(self, private: Private) -> None:
        self._private, self._kid = private, private.kid
        _, self._public = _whole_chain(self._folder.parent)


@dataclass(frozen=True, slots=True)
class _Change:
    """Why and when a key takes over, and the key before it, if that can sign."""

    reason: str
    now: datetime
    by: str
    voucher: Private | None = None


def open_keys(state_dir: Path, now: datetime, by: str, *, given: Path | None = None) -> Keys:
    """Open the keys of a state dir; make the first one. The caller holds the lock.

    `given` is a PKCS #8 Ed25519 PEM file that signs instead of a key of ours (-key-file). `by` is
    who is named in the chain of custody. Raises KeysUnusable: a key that others can read, one
    that is not the one that the chain names, a file that cannot be read or written.
    """
    path = state_dir / FOLDER
    with _opened(path, make=True) as folder:
        _finish_rotation(folder, state_dir)
        own = own_key(folder, path)
        chain, _ = _whole_chain(state_dir)
        if given is not None:
            private = given_key(given)
            _take_over(folder, path, private, own, now, by)
            if own is not None:
                os.unlink(SIGNING, dir_fd=folder)
                disk.sync(folder)
        elif own is not None:
            private = own
            _recognise(folder, path, own, chain, now, by)
        else:
            private = new_private()
            reason = "replaced" if chain else "first"
            _install(folder, path, private, _Change(reason, now, by))
            _tell_made(private.kid, chain)
    grown = read_chain(state_dir)
    recorded = grown[-1] if len(grown) > len(chain) else None
    return Keys(path, private, given=given, recorded=recorded)


def rotate_own_key(state_dir: Path, now: datetime, by: str) -> str:
    """As `Keys.rotate`, while no daemon runs. The caller holds the lock."""
    chain = read_chain(state_dir)
    if chain and chain[-1].reason == "given":
        raise _rotated_elsewhere()
    return open_keys(state_dir, now, by).rotate(now, by)


def _rotated_elsewhere() -> KeysUnusable:
    return KeysUnusable(
        "the key comes from -key-file, so it is rotated where that comes from",
        hint="put the new key there, and it is taken; the old public key is kept",
        code="key_is_given",
    )


def _tell_made(kid: str, chain: Sequence[Custody]) -> None:
    if not chain:
        _log.info("made a signing key, %s", kid)
        return
    _log.warning(
        "the signing key %s is missing: made a new one, %s, which the old one cannot vouch for;"
        " verdicts that the old one signed still verify",
        chain[-1].kid,
        kid,
    )


def _whole_chain(state_dir: Path) -> tuple[Sequence[Custody], PublicKeys]:
    """The chain of custody, and the keys that it names. Raises KeysUnusable when it is broken."""
    chain = read_chain(state_dir)
    keys, faults = keys_of(chain)
    for fault in faults:
        raise KeysUnusable(fault.message, hint=fault.hint, code=fault.code)
    return chain, keys


def _recognise(
    folder: int, path: Path, own: Private, chain: Sequence[Custody], now: datetime, by: str
) -> None:
    """Accept the key that the chain names last, and no other."""
    if not chain:
        _record(folder, path, own, _Change("first", now, by))
        _log.warning("began a chain of custody with the signing key found, %s", own.kid)
        return
    if chain[-1].kid == own.kid:
        return
    raise KeysUnusable(
        f"the signing key is {own.kid}, but {chain[-1].kid} is the one in use since"
        f" {chain[-1].since}",
        hint=f"put that key back; or move {path / os.fsdecode(SIGNING)} away to have one made,"
        " or give yours with -key-file: both are recorded",
        code="key_swapped",
    )


def _take_over(
    folder: int, path: Path, given: Private, before: Private | None, now: datetime, by: str
) -> None:
    """Record a given key that is new here, signed by the one before it if we have that."""
    chain = read_chain(path.parent)
    if chain and chain[-1].kid == given.kid:
        return
    is_current = before is not None and bool(chain) and chain[-1].kid == before.kid
    _record(folder, path, given, _Change("given", now, by, before if is_current else None))
    _log.info("signing with the key of -key-file, %s", given.kid)


def _finish_rotation(folder: int, state_dir: Path) -> None:
    """Bring in a new key that the chain names already; drop one that it does not."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_CHAIN_NEXT, dir_fd=folder)
    path = state_dir / FOLDER
    try:
        data = read_own(_NEXT, folder, path)
    except FileNotFoundError:
        return
    chain = read_chain(state_dir)
    try:
        kid = parsed(data, path / os.fsdecode(_NEXT)).kid
    except KeysUnusable:  # cut short by a crash, so no chain names it
        kid = ""
    if chain and chain[-1].kid == kid:
        os.rename(_NEXT, SIGNING, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        os.unlink(_NEXT, dir_fd=folder)
    disk.sync(folder)


def _install(folder: int, path: Path, new: Private, change: _Change) -> None:
    _write(folder, _NEXT, private_pem(new.seed))
    _record(folder, path, new, change)
    os.rename(_NEXT, SIGNING, src_dir_fd=folder, dst_dir_fd=folder)
    disk.sync(folder)


def _record(folder: int, path: Path, new: Private, change: _Change) -> None:
    """Append to the chain, which is replaced as a whole."""
    chain = read_chain(path.parent)
    record = Custody(
        seq=len(chain) + 1,
        kid=new.kid,
        x=b64url(new.public),
        previous=chain[-1].kid if chain else "",
        since=timestamp(change.now),
        by=change.by,
        reason=change.reason,
    )
    voucher = change.voucher or new
    signed = record.signed(voucher.kid, voucher.key.sign)
    _write(folder, _CHAIN_NEXT, encode_chain([*chain, signed]))
    os.rename(_CHAIN_NEXT, _CHAIN, src_dir_fd=folder, dst_dir_fd=folder)
    disk.sync(folder)


def _write(folder: int, name: bytes, data: bytes) -> None:
    """Write a private file of ours anew, durably; what a crash left of it goes."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    handle = disk.write_new(folder, name, data, _PRIVATE_FILE)
    try:
        disk.sync(handle)
    finally:
        os.close(handle)
    disk.sync(folder)


@contextlib.contextmanager
def _opened(path: Path, *, make: bool = False) -> Iterator[int]:
    """The folder of the keys; what the system refuses in the block is a KeysUnusable."""
    try:
        if make:
            _make(path)
        folder = disk.open_folder(os.fspath(path))
        try:
            _refuse_shared_folder(os.fstat(folder), path)
            yield folder
        finally:
            os.close(folder)
    except OSError as error:
        raise KeysUnusable(
            f"the keys in {path} cannot be read or written: {error.strerror}",
            hint="make it a folder of the daemon's user, on a disk with room",
        ) from error


def _make(path: Path) -> None:
    try:
        os.mkdir(path, _PRIVATE_FOLDER)
    except FileExistsError:
        return
    parent = disk.open_folder(os.fspath(path.parent))
    try:
        disk.sync(parent)
    finally:
        os.close(parent)


def _refuse_shared_folder(status: os.stat_result, path: Path) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & OTHERS:
        raise KeysUnusable(
            f"others may enter {path}: its mode is {mode:04o}",
            hint=f"make sure that nobody took a key, then: chmod 700 {path}",
            code="key_not_private",
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise KeysUnusable(
            f"{path} belongs to uid {status.st_uid}, who could swap the keys",
            hint=f"run as that user, or: chown {os.geteuid()} {path}",
            code="key_not_private",
        )
