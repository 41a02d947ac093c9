"""Records, the tree over them and the notes about it, against what their standards say."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import get_args

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from conductor_loop.core.audit.merkle import EMPTY_ROOT, Frontier
from conductor_loop.core.audit.note import key_id, parse_checkpoint, signed_checkpoint
from conductor_loop.core.audit.records import decode_line, encode_line, own_record, record_of
from conductor_loop.core.audit.signing import record_fault, signed
from conductor_loop.core.canonical import off_profile
from conductor_loop.core.events import Event, Noticed, Paused, Rejected
from conductor_loop.core.faults import Fault
from conductor_loop.core.records import Entry
from conductor_loop.core.security_events import Severity
from tests.fakes import BEGINNING
from tests.handoff_folder import admitted, quarantined, receipt
from tests.signing import KNOWN, SIGNER, STRANGER
from tests.unit.test_events import EVENTS, values


def _root(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962, section 2.1, writes it down."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _root(leaves[:k]) + _root(leaves[k:])).digest()


def test_the_tree_is_that_of_rfc_6962_at_every_size() -> None:
    tree, leaves = Frontier(), list[bytes]()
    assert tree.root() == EMPTY_ROOT
    for number in range(70):
        leaf = b"line %d" % number
        tree.add(leaf)
        leaves.append(leaf)
        assert tree.root() == _root(leaves)
        assert tree.is_sound


def test_the_key_id_is_that_of_the_example_in_the_c2sp_go_library() -> None:
    """PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW (golang.org/x/mod)."""
    public = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert key_id("PeterNeumann", public[1:]).hex() == "c74f20a3"


def test_a_checkpoint_has_the_form_of_c2sp_tlog_checkpoint() -> None:
    note = signed_checkpoint("conductor-loop/X", 7, b"r" * 32, SIGNER.public, SIGNER.sign)
    text, _, _, signature_line = (
        note.decode().rstrip("\n").rpartition("\n\n")[0],
        *(note.decode().partition("\n\n")),
    )
    assert text == f"conductor-loop/X\n7\n{base64.b64encode(b'r' * 32).decode()}"
    assert signature_line.startswith("— conductor-loop/X ")
    signed_text, origin, size, root, signature = parse_checkpoint(note)
    assert (origin, size, root) == ("conductor-loop/X", 7, b"r" * 32)
    assert KNOWN.is_signed(SIGNER.kid, signed_text, signature[4:])


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_event_becomes_a_record_that_every_tool_writes_alike(
    kind: type[Event], data: st.DataObject
) -> None:
    event = data.draw(values(kind))
    assert isinstance(event, get_args(Event))
    entry = Entry(data.draw(st.integers(1, 2**53 - 1)), BEGINNING, event, "01J", correlation_id="c")
    record = signed(record_of(entry), SIGNER.kid, SIGNER.sign)
    line = encode_line(record)
    document = json.loads(line)
    if off_profile(document) is None:  # numbers beyond 2^53 are no intent's
        assert rfc8785.dumps(document) == line
        assert decode_line(line) == record
        assert record_fault(record, KNOWN) is None
    assert b"\n" not in line


def test_a_record_says_who_did_what_to_what_and_how_it_ended() -> None:
    entry = Entry(9, BEGINNING, admitted(), "01J", receipt(), correlation_id="scale-2024-001")
    document = msgspec.json.decode(encode_line(record_of(entry)))
    assert (
        document.items()
        >= {
            "action": "intent.admitted",
            "actor": "planner",
            "correlation_id": "scale-2024-001",
            "journal_seq": 9,
            "outcome": "success",
            "resource": "intent/01J",
        }.items()
    )
    assert document["details"]["target"] == "oran-sim/cnf-simulator"
    assert {"event_id", "prev", "seq", "timestamp"} <= document.keys()


def _severity(event: Event) -> str:
    return record_of(Entry(1, BEGINNING, event, "01J")).severity


def _rejected(code: str) -> Rejected:
    return Rejected(receipt(), (Fault(code, "wrong on purpose"),))


@pytest.mark.parametrize(
    ("event", "severity"),
    [
        (quarantined(), Severity.HIGH),
        (_rejected("hard_linked"), Severity.HIGH),
        (_rejected("json_bidi_control"), Severity.HIGH),
        (_rejected("json_duplicate_key"), Severity.MEDIUM),
        (_rejected("replicas_out_of_range"), Severity.LOW),
        (Noticed("made_up", Severity.CRITICAL), Severity.CRITICAL),
        (Paused("alice"), Severity.LOW),
        (admitted(), ""),
    ],
    ids=lambda value: getattr(value, "code", "") or type(value).__name__,
)
def test_the_severity_follows_from_what_happened(event: Event, severity: str) -> None:
    assert _severity(event) == severity


@dataclass(frozen=True, slots=True)
class _Forgery:
    old: bytes
    new: bytes


@pytest.mark.parametrize(
    "forgery",
    [
        _Forgery(b'"outcome":"success"', b'"outcome": "success"'),
        _Forgery(b'"outcome":"success"', b'"outcome":"success","outcome":"success"'),
        _Forgery(b'"outcome":"success"', b'"outcome":"success","ours":1'),
        _Forgery(b'"outcome":"success",', b""),
        _Forgery(b"planner", b"pl\\u0061nner"),
        _Forgery(b'"seq":0', b'"seq":"0"'),
        _Forgery(b"planner", b"pl\xffnner"),
    ],
)
def test_there_is_one_way_to_write_a_record(forgery: _Forgery) -> None:
    line = encode_line(record_of(Entry(1, BEGINNING, admitted(), "01J")))
    assert forgery.old in line
    with pytest.raises(ValueError, match="it is"):
        decode_line(line.replace(forgery.old, forgery.new))


def test_a_strangers_signature_does_not_stand_for_the_daemons() -> None:
    record = own_record("log.opened", 1, BEGINNING, {})
    forged = signed(record, SIGNER.kid, STRANGER.sign)
    fault = record_fault(forged, KNOWN)
    assert fault is not None
    assert fault.code == "signature_wrong"
    unknown = record_fault(signed(record, STRANGER.kid, STRANGER.sign), KNOWN)
    assert unknown is not None
    assert unknown.code == "unknown_kid"
