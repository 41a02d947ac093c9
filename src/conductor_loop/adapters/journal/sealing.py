"""Sealing: AES-256-GCM for what is private in the journal, and keyed look-ups for what is asked.

A blob is `version|kid|nonce|ciphertext|tag`. Nonces are random: a counter would come again after
a restored backup. The place of a blob is bound to it, so that it opens nowhere else.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from conductor_loop.core.faults import JournalDamaged

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
KEY_BYTES = 32
_HEAD = struct.Struct(">BI")  # version, kid
_NONCE_BYTES = 12  # 96 bits: NIST SP 800-38D, 8.2
_TAG_BYTES = 16
_SEALED_FROM = _HEAD.size + _NONCE_BYTES
_LEAST = _SEALED_FROM + _TAG_BYTES
# Enough that two values never meet by chance, and half the index of a whole HMAC.
_BLIND_BYTES = 16
# An intent's name and target are asked for several times while it passes.
_MOST_BLINDED = 1024
_EVENT = struct.Struct(">qqq")
_ROW = struct.Struct(">q")


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What is private about an intent and never changes: one blob in its row."""

    name: bytes
    digest: str
    submitted_by: str
    namespace: str
    target: str
    correlation_id: str
    kept: str = ""
    """The state of an intent whose events were forgotten: nothing else vouches for it then."""


_facts_encoder = msgspec.msgpack.Encoder()
_facts_decoder = msgspec.msgpack.Decoder(Facts)


def encode_facts(facts: Facts) -> bytes:
    """Write facts as MessagePack: names are bytes, which JSON does not have."""
    return _facts_encoder.encode(facts)


def decode_facts(data: bytes) -> Facts:
    """Read facts back. Raises msgspec.MsgspecError."""
    return _facts_decoder.decode(data)


def event_place(seq: int, intent: int | None, at: int) -> bytes:
    """Where an event stands: moving, giving it to another intent or redating it breaks it."""
    return b"events.event" + _EVENT.pack(seq, -1 if intent is None else intent, at)


def facts_place(seq: int, intent_id: str) -> bytes:
    """Where the facts of an intent stand."""
    return b"intents.facts" + _ROW.pack(seq) + intent_id.encode()


def body_place(intent_id: str) -> bytes:
    """Where the bytes of an intent stand."""
    return b"intents.body" + intent_id.encode()


def parked_place(seq: int) -> bytes:
    """Where the reason stands for which an entry was set aside."""
    return b"parked.why" + _ROW.pack(seq)


def keyed_place(column: bytes, key: bytes) -> bytes:
    """Where a value stands in a table whose rows are found by a blind index."""
    return column + key


class Sealer(Protocol):
    """What turns values into what is stored, and back."""

    def seal(self, place: bytes, plain: bytes) -> bytes:
        """What is stored for `plain` at `place`."""

    def open(self, place: bytes, stored: bytes) -> bytes:
        """What was sealed at this place. Raises JournalDamaged."""

    def blind(self, column: bytes, value: bytes) -> bytes:
        """What a value is looked up by: equal for equal values, else telling nothing."""


class Clear:
    """Encryption is off: everything is stored as it is."""

    def seal(self, place: bytes, plain: bytes) -> bytes:
        """See `Sealer`."""
        return plain

    def open(self, place: bytes, stored: bytes) -> bytes:
        """See `Sealer`."""
        return stored

    def blind(self, column: bytes, value: bytes) -> bytes:
        """See `Sealer`."""
        return value


class DataKeys(msgspec.Struct, frozen=True):
    """The keys of one journal, unwrapped."""

    index: bytes
    """For look-ups and for the count of rows; the same for the life of the journal."""
    data: dict[int, bytes]
    """What was ever sealed with, by kid."""


class Vault:
    """Seals with the newest data key, opens with any, and looks up with the index key."""

    def __init__(self, keys: DataKeys, more: Callable[[], dict[int, bytes]] | None = None) -> None:
        """`more` asks for keys that were made meanwhile, by the daemon."""
        # Not before it is needed: most commands never open a sealed journal.
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM
        self._invalid = InvalidTag
        self._more = more
        self._index = hmac.digest(keys.index, b"conductor-loop look-up", "sha256")
        self.counting = hmac.digest(keys.index, b"conductor-loop rows", "sha256")
        """The key under which rows are counted."""
        self._ciphers: dict[bytes, AESGCM] = {}
        """By the head of what they sealed."""
        self.kid = 0
        self._blinded: dict[bytes, bytes] = {}
        self.sealed = 0
        """How much this process has sealed with the newest key."""
        self.adopt(keys.data)

    def adopt(self, data: dict[int, bytes]) -> None:
        """Take these data keys too, and seal with the newest from now on."""
        for kid, key in data.items():
            self._ciphers[_HEAD.pack(VERSION, kid)] = self._cipher(key)
            self.kid = max(self.kid, kid)
        self._head = _HEAD.pack(VERSION, self.kid)
        self._newest = self._ciphers[self._head]
        self.sealed = 0

    def seal(self, place: bytes, plain: bytes) -> bytes:
        """See `Sealer`."""
        self.sealed += 1
        head, nonce = self._head, os.urandom(_NONCE_BYTES)
        return head + nonce + self._newest.encrypt(nonce, plain, head + place)

    def open(self, place: bytes, stored: bytes) -> bytes:
        """See `Sealer`."""
        head = stored[: _HEAD.size]
        cipher = self._ciphers.get(head) or self._made_meanwhile(head)
        if cipher is None or len(stored) < _LEAST:
            raise damaged("it is too short, or its key is not known")
        try:
            return cipher.decrypt(
                stored[_HEAD.size : _SEALED_FROM], stored[_SEALED_FROM:], head + place
            )
        except self._invalid:
            raise damaged("it was altered, or belongs elsewhere") from None

    def _made_meanwhile(self, head: bytes) -> AESGCM | None:
        if self._more is not None:
            self.adopt(self._more())
        return self._ciphers.get(head)

    def blind(self, column: bytes, value: bytes) -> bytes:
        """See `Sealer`."""
        asked = column + b"\0" + value
        known = self._blinded.get(asked)
        if known is not None:
            return known
        if len(self._blinded) >= _MOST_BLINDED:
            self._blinded.clear()
        key = hmac.digest(self._index, asked, "sha256")[:_BLIND_BYTES]
        self._blinded[asked] = key
        return key


def damaged(why: str) -> JournalDamaged:
    """The error for a value that cannot be trusted."""
    return JournalDamaged(f"a value in the journal cannot be trusted: {why}")
