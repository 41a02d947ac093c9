"""Checkpoints for others to keep: signed notes as c2sp.org/signed-note and tlog-checkpoint say."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from conductor_loop.core.jws import Sign, Verifier

# Signature type of Ed25519 (c2sp.org/signed-note, "Signature types").
_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_NOTE = re.compile(
    r"(?P<text>(?P<origin>\S+)\n(?P<size>0|[1-9][0-9]*)\n(?P<root>[A-Za-z0-9+/]{43}=)\n)\n"
    r"— (?P<name>\S+) (?P<signature>[A-Za-z0-9+/]+=*)\n"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a signed note says: whose log, how many records, and their root (32 bytes)."""

    origin: str
    size: int
    root: bytes


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The three lines that are signed: whose log, how many records, which root."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode('ascii')}\n"


def key_id(name: str, public: bytes) -> bytes:
    """Four bytes that tell keys of one name apart; `public` is the raw Ed25519 key."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID_BYTES]


def signed_checkpoint(origin: str, size: int, root: bytes, public: bytes, sign: Sign) -> bytes:
    """A whole note, with one signature by the log itself."""
    text = checkpoint_text(origin, size, root)
    signature = base64.b64encode(key_id(origin, public) + sign(text.encode())).decode("ascii")
    return f"{text}\n— {origin} {signature}\n".encode()


def parse_checkpoint(note: bytes) -> tuple[bytes, str, int, bytes, bytes]:
    """Text, origin, size, root and the signature's bytes (key id first). Raises ValueError."""
    match = _NOTE.fullmatch(note.decode("utf-8"))
    if match is None or match["name"] != match["origin"]:
        raise ValueError("not a checkpoint of one signature")
    return (
        match["text"].encode(),
        match["origin"],
        int(match["size"]),
        base64.b64decode(match["root"]),
        base64.b64decode(match["signature"], validate=True),
    )


def proved_checkpoint(note: bytes, publics: Mapping[str, bytes], keys: Verifier) -> Checkpoint:
    """What a note says, if one of our keys signed it; raw public keys by kid. Raises ValueError."""
    text, origin, size, root, signature = parse_checkpoint(note)
    for kid, public in publics.items():
        is_named = signature[:_KEY_ID_BYTES] == key_id(origin, public)
        if is_named and keys.is_signed(kid, text, signature[_KEY_ID_BYTES:]):
            return Checkpoint(origin, size, root)
    raise ValueError("none of the known keys signed it")
