"""Signals that need no statistics: what a journalled event shows of an attempt to deceive."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from conductor_loop.core.events import (
    Admitted,
    BreakerOpened,
    Duplicated,
    Event,
    Failed,
    Failure,
    Published,
    Quarantined,
    Receipt,
    Rejected,
    RetryScheduled,
    Run,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.naming import shown
from conductor_loop.core.sandbox import UNCONFINED

MOST_DIGESTS = 4096
_BY_FAULT = {
    "special_symlink": "symlink_seen",
    "special_fifo": "special_file_seen",
    "special_socket": "special_file_seen",
    "special_character_device": "special_file_seen",
    "special_block_device": "special_file_seen",
    "hard_linked": "hard_link_seen",
    "json_bidi_control": "hidden_text_seen",
    "json_zero_width": "hidden_text_seen",
    "json_tag_character": "hidden_text_seen",
    "json_duplicate_key": "duplicate_key_seen",
    "json_case_clash": "duplicate_key_seen",
}
_NAMES_OF_PATHS = frozenset({"target_invalid", "namespace_invalid", "correlation_id_invalid"})
_FOUND = "found "


class Signals:
    """Reads events one by one; remembers the newest digests, and the layer porch ran in."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, bytes] = OrderedDict()
        self._layer = ""

    def of(self, event: Event) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the code of each signal in an event, with details."""
        match event:
            case Quarantined(fault=fault):
                yield from _of_faults((fault,))
            case Rejected(faults=faults):
                yield from _of_faults(faults)
            case BreakerOpened(failure=Failure(code="porch_changed", message=message)):
                yield "porch_replaced", {"found": message}
            case Duplicated(first=first):
                yield "replayed_bytes", {"first": first}
            case Admitted(receipt=receipt, retry_of=None):
                yield from self._of_digest(receipt)
            case (
                Published(run=run)
                | RetryScheduled(run=run)
                | TimedOut(run=run)
                | Failed(run=Run() as run)
            ):
                yield from self._of_layer(run)

    def _of_digest(self, receipt: Receipt) -> Iterator[tuple[str, dict[str, str]]]:
        earlier = self._names.pop(receipt.digest, receipt.name)
        self._names[receipt.digest] = receipt.name
        if len(self._names) > MOST_DIGESTS:
            self._names.popitem(last=False)
        if earlier != receipt.name:
            yield "replayed_bytes", {"earlier_name": shown(earlier), "sha256": receipt.digest}

    def _of_layer(self, run: Run) -> Iterator[tuple[str, dict[str, str]]]:
        before, self._layer = self._layer, run.sandbox
        if run.sandbox == UNCONFINED and before not in ("", UNCONFINED):
            yield "hardening_lost", {"before": before, "now": run.sandbox}


def _of_faults(faults: tuple[Fault, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    for fault in faults:
        code = "traversal_seen" if _is_traversal(fault) else _BY_FAULT.get(fault.code)
        if code is not None:
            yield code, {"fault": fault.code, "pointer": fault.pointer}


def _is_traversal(fault: Fault) -> bool:
    """Whether a field that becomes part of a path tried to be one (`found "VALUE", where ...`)."""
    if fault.code not in _NAMES_OF_PATHS or not fault.message.startswith(_FOUND):
        return False
    found = fault.message.rpartition(", where ")[0]
    return ".." in found or "/" in found or "\\" in found
