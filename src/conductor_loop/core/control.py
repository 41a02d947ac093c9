"""What an operator can ask of a daemon, and what it answers: the words of the control socket."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from conductor_loop.core import records
from conductor_loop.core.faults import Fault
from conductor_loop.core.protection import Protections

MOST_IDS = 500
"""So many intents are asked for at once: where each is refused, and where the disk is slow, the
answer still comes in time."""


class _Request(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    pass


class Pause(_Request, frozen=True):
    """Start nothing new, of everything or of one `namespace/target`."""

    target: str = ""
    why: str = ""


class Resume(_Request, frozen=True):
    """Lift exactly that pause; the whole one's end also accepts a porch that was replaced."""

    target: str = ""
    why: str = ""


class Cancel(_Request, frozen=True):
    """End what waits or runs: one intent, one target's, or everything."""

    intent_id: str = ""
    target: str = ""
    why: str = ""


class Retry(_Request, frozen=True):
    """Admit unsuccessful intents anew."""

    intent_ids: tuple[str, ...]
    force: bool = False
    why: str = ""


class Health(_Request, frozen=True):
    """Is the daemon live, and ready to take files?"""


class Look(_Request, frozen=True):
    """How is the daemon?"""


class RotateKey(_Request, frozen=True):
    """Sign with a new key from now on."""


class Reload(_Request, frozen=True):
    """Read the settings again, and change what can change."""


Request = Pause | Resume | Cancel | Retry | Health | Look | RotateKey | Reload


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that must hold for the daemon to be ready."""

    name: str
    ok: bool
    message: str = ""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a request; `refusals` is empty when all of it was done."""

    intent_ids: tuple[str, ...] = ()
    """Cancelled ones, or the new ids of retried ones in the order asked."""
    refusals: tuple[Fault, ...] = ()
    checks: tuple[Check, ...] = ()
    """For `Health`."""
    vitals: msgspec.Raw = msgspec.Raw()
    """For `Look`: the vitals as `core.vitals` writes them down, without the end of their line."""
    protections: Protections | None = None
    """For `Look`; None: the daemon is of a version that does not say."""
    changed: tuple[str, ...] = ()
    """For `Reload`: the settings that are in effect now."""
    needs_restart: tuple[str, ...] = ()
    """For `Reload`: those that wait for the next start."""
    pid: int = 0
    kid: str = ""
    """The new key, for `RotateKey`."""
    porch_sha256: str = ""
    """For `Resume`: the replaced porch that is accepted by it; empty when there was none."""
    still_paused: tuple[records.Pause, ...] = ()
    """For `Resume`: the pauses in force after it."""
    was_paused: bool = True
    """For `Resume`: there was something to lift."""


def parts(request: Request) -> Sequence[Request]:
    """The same as several requests, none of which asks for too much at once."""
    if not isinstance(request, Retry) or len(request.intent_ids) <= MOST_IDS:
        return (request,)
    ids = request.intent_ids
    return [
        msgspec.structs.replace(request, intent_ids=ids[at : at + MOST_IDS])
        for at in range(0, len(ids), MOST_IDS)
    ]


def joined(replies: Sequence[Reply]) -> Reply:
    """The reply to the whole of a request that was made in parts."""
    return Reply(
        tuple(one for reply in replies for one in reply.intent_ids),
        tuple(one for reply in replies for one in reply.refusals),
        pid=replies[0].pid,
    )


_encoder = msgspec.json.Encoder()
_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """One line of JSON."""
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises msgspec.DecodeError for anything else."""
    return _requests.decode(line)


def decode_reply(line: bytes) -> Reply:
    """Raises msgspec.DecodeError for anything else."""
    return _replies.decode(line)
