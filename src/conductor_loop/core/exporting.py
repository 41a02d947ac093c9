"""What the daemon and the process that exports traces tell each other, in lines of JSON."""

from __future__ import annotations

import msgspec


class Exporting(msgspec.Struct, frozen=True):
    """The daemon's one line: everything that the process is told. Paths are absolute."""

    version: str
    state_dir: str
    kek_file: str
    """Empty: where the state dir has it."""
    position: int
    """The seq of the journal behind which it begins."""
    confinement: tuple[str, ...]
    """Words for `confinement.obey`."""
    sealed_off: tuple[str, ...]
    """The same for when the journal is open; narrower."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the process, each time that something changed."""

    position: int
    """Everything up to this seq is exported or dropped."""
    exported: int = 0
    """Traces since the line before, as the next one."""
    dropped: int = 0
    failing: str = ""
    """Why nothing can be exported now; empty when it can."""


_encoder = msgspec.json.Encoder()
_exporting: msgspec.json.Decoder[Exporting] = msgspec.json.Decoder(Exporting)
_progress: msgspec.json.Decoder[Progress] = msgspec.json.Decoder(Progress)


def encode(message: Exporting | Progress) -> bytes:
    """One line of JSON."""
    return _encoder.encode(message) + b"\n"


def decode_exporting(line: bytes) -> Exporting:
    """Raises msgspec.DecodeError for anything else."""
    return _exporting.decode(line)


def decode_progress(line: bytes) -> Progress:
    """Raises msgspec.DecodeError for anything else."""
    return _progress.decode(line)
