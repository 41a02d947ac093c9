"""The keys that seal the journal: kept in it, each wrapped by the key-encryption key (RFC 3394)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import apsw

from conductor_loop.adapters.journal.kek_file import make_kek, own_kek_file, read_keks
from conductor_loop.adapters.journal.sealing import KEY_BYTES, Clear, DataKeys, Vault
from conductor_loop.core.faults import CannotStart

_INDEX_KID = 0
_KEYS = "SELECT kid, wrapped FROM data_keys ORDER BY kid"
_ADD = "INSERT INTO data_keys (kid, wrapped, made_at) VALUES (?, ?, ?)"
_REWRAP = "UPDATE data_keys SET wrapped = ? WHERE kid = ?"
_NEWEST = "SELECT made_at FROM data_keys ORDER BY kid DESC LIMIT 1"
_WAYS_OUT = (
    "put the key back; or restore a backup that was made with its keys; "
    "or: conductor-loop state rebuild, which makes a journal from the verdicts; "
    "or start anew with an empty -state-dir"
)


@dataclass(frozen=True, slots=True)
class Sealing:
    """How the journal is sealed."""

    enabled: bool = True
    kek_file: Path | None = None
    """None: made on first run beside the journal."""
    key_age: timedelta = timedelta(days=30)
    key_uses: int = 1 << 30
    """NIST SP 800-38D, 8.3: at most 2^32 random nonces under one key."""


def unlock(connection: apsw.Connection, state_dir: Path, kek_file: Path | None) -> Vault | Clear:
    """What opens this journal's values. Raises CannotStart: the key is lost, exposed or another."""
    wrapped = _wrapped(connection)
    if not wrapped:
        return Clear()
    path = kek_file or own_kek_file(state_dir)
    keks = _keks(path)

    def more() -> dict[int, bytes]:
        return _unwrap_all(_wrapped(connection), keks, path)[0].data

    return Vault(_unwrap_all(wrapped, keks, path)[0], more)


def unlock_for_writing(
    connection: apsw.Connection, state_dir: Path, kek_file: Path | None
) -> Vault | Clear:
    """As `unlock`; what an older key wraps is wrapped by the one in force."""
    wrapped = _wrapped(connection)
    if not wrapped:
        return Clear()
    path = kek_file or own_kek_file(state_dir)
    keks = _keks(path)
    keys, is_current = _unwrap_all(wrapped, keks, path)
    if not is_current:
        with connection:
            _rewrap(connection, keys, keks[0])
    return Vault(keys)


def first_keys(
    connection: apsw.Connection, state_dir: Path, kek_file: Path | None, at: int
) -> Vault:
    """Make the keys of a journal that has none, inside the caller's transaction."""
    kek = _kek_to_begin_with(state_dir, kek_file)
    keys = DataKeys(os.urandom(KEY_BYTES), {_INDEX_KID + 1: os.urandom(KEY_BYTES)})
    for kid, key in ((_INDEX_KID, keys.index), *keys.data.items()):
        connection.execute(_ADD, (kid, _wrap(kek, key), at))
    return Vault(keys)


class KeyRotation:
    """When a new data key is due, and making it; what was sealed before stays readable."""

    def __init__(
        self, connection: apsw.Connection, vault: Vault, state_dir: Path, sealing: Sealing
    ) -> None:
        self._connection = connection
        self._vault = vault
        self._path = sealing.kek_file or own_kek_file(state_dir)
        self._uses = sealing.key_uses
        self._age = sealing.key_age // timedelta(microseconds=1)
        self._made_at = _made_at(connection)

    def is_due(self, at: int) -> bool:
        """Whether the newest key has sealed enough, or is old enough at this moment."""
        is_old = bool(self._age) and at - self._made_at >= self._age
        return is_old or self._vault.sealed >= self._uses

    def rotate(self, at: int) -> None:
        """Make the next data key, in a transaction of its own."""
        kid, key = self._vault.kid + 1, os.urandom(KEY_BYTES)
        with self._connection:
            self._connection.execute(_ADD, (kid, _wrap(_keks(self._path)[0], key), at))
        self._vault.adopt({kid: key})
        self._made_at = at


def _made_at(connection: apsw.Connection) -> int:
    """When the newest key was made, in microseconds since 1970."""
    value = connection.execute(_NEWEST).get
    assert isinstance(value, int)
    return value


def _wrapped(connection: apsw.Connection) -> dict[int, bytes]:
    return {int(kid): bytes(wrapped) for kid, wrapped in connection.execute(_KEYS)}


def _rewrap(connection: apsw.Connection, keys: DataKeys, kek: bytes) -> None:
    for kid, key in ((_INDEX_KID, keys.index), *keys.data.items()):
        connection.execute(_REWRAP, (_wrap(kek, key), kid))


def _keks(path: Path) -> list[bytes]:
    try:
        return read_keks(path)
    except FileNotFoundError as error:
        raise CannotStart(
            f"the journal is sealed, and its key-encryption key is not at {path}",
            code="kek_lost",
            hint=_WAYS_OUT,
        ) from error
    except OSError as error:
        raise CannotStart(
            f"the key-encryption key {path} cannot be read: {error.strerror}",
            code="kek_unreadable",
            hint="check -kek-file, and the owner of the file",
        ) from error


def _kek_to_begin_with(state_dir: Path, kek_file: Path | None) -> bytes:
    """The operator's key if one is named; else our own, made when there is none."""
    path = kek_file or own_kek_file(state_dir)
    try:
        if kek_file is None and not path.exists():
            return make_kek(path)
        return read_keks(path)[0]
    except OSError as error:
        raise CannotStart(
            f"the key-encryption key {path} cannot be used: {error.strerror}",
            code="kek_unreadable",
            hint="check -kek-file, or leave it out: a key is then made in STATE-DIR/keys",
        ) from error


def _wrap(kek: bytes, key: bytes) -> bytes:
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap

    return aes_key_wrap(kek, key)


def _unwrap_all(wrapped: dict[int, bytes], keks: list[bytes], path: Path) -> tuple[DataKeys, bool]:
    """Every key, and whether the first of `keks` wraps them all."""
    found = {kid: _unwrap(data, keks, path) for kid, data in wrapped.items()}
    keys = {kid: key for kid, (key, _) in found.items()}
    index = keys.pop(_INDEX_KID, None)
    if index is None or not keys:
        raise _another_key(path)
    return DataKeys(index, keys), all(number == 0 for _, number in found.values())


def _unwrap(wrapped: bytes, keks: list[bytes], path: Path) -> tuple[bytes, int]:
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

    for number, kek in enumerate(keks):
        try:
            return aes_key_unwrap(kek, wrapped), number
        except InvalidUnwrap:
            continue
    raise _another_key(path)


def _another_key(path: Path) -> CannotStart:
    return CannotStart(
        f"the key-encryption key in {path} is not the one that this journal was sealed with",
        code="kek_wrong",
        hint=_WAYS_OUT,
    )
