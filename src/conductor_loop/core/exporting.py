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
    damaged: int = 0
    """Entries of the journal that were passed over, because they cannot be trusted."""
    failing: str = ""
    """Why nothing can be exported now; empty when it can."""
    refused: str = ""
    """Why it ends, and why another one would: OpenTelemetry refuses its settings."""


class Tried(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a trial found: whether the process could export with the settings that it has."""

    refused: str = ""
    """What OpenTelemetry refuses; empty when it refuses nothing."""
    hint: str = ""
    """What to do about that."""
    complaints: tuple[str, ...] = ()
    """What it does not understand, and goes on without."""


_encoder = msgspec.json.Encoder()
_exporting: msgspec.json.Decoder[Exporting] = msgspec.json.Decoder(Exporting)
_progress: msgspec.json.Decoder[Progress] = msgspec.json.Decoder(Progress)
_tried: msgspec.json.Decoder[Tried] = msgspec.json.Decoder(Tried)


def encode(message: Exporting | Progress | Tried) -> bytes:
    """One line of JSON."""
    return _encoder.encode(message) + b"\n"


def decode_exporting(line: bytes) -> Exporting:
    """Raises msgspec.DecodeError for anything else."""
    return _exporting.decode(line)


def decode_progress(line: bytes) -> Progress:
    """Raises msgspec.DecodeError for anything else."""
    return _progress.decode(line)


def decode_tried(line: bytes) -> Tried:
    """Raises msgspec.DecodeError for anything else."""
    return _tried.decode(line)
