"""A signed verdict proves itself; anything else is refused, and the reason has a code."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from conductor_loop.adapters.keys.public import PublicKeys
from conductor_loop.core.jws import CUSTODY, STATUS, b64url, detached_jws, signing_input
from conductor_loop.core.proof import prove
from conductor_loop.core.verdict import Document, encode_verdict, signed_verdict
from tests.signing import KNOWN, SIGNER, STRANGER, SignerOf

VERDICT: Document = {
    "intent_file": "intent-ä.json",
    "status": "success",
    "attempts": [{"number": 1, "outcome": "success"}],
    "outputs": None,
}
SIGNED = signed_verdict(VERDICT, SIGNER.kid, SIGNER.sign)


def codes(data: bytes, keys: PublicKeys = KNOWN) -> list[str]:
    return [fault.code for fault in prove(data, keys).faults]


def encoded(**changes: object) -> bytes:
    return json.dumps({**SIGNED, **changes}).encode()


def signed_with_header(header: dict[str, object] | bytes, signer: SignerOf = SIGNER) -> bytes:
    """A verdict whose signature is right for a header that may not be."""
    raw = (
        header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    )
    text = b64url(raw)
    signature = b64url(signer.sign(signing_input(text, VERDICT)))
    return encoded(signature=f"{text}..{signature}")


def header(**changes: object) -> dict[str, object]:
    return {"alg": "EdDSA", "kid": SIGNER.kid, "typ": STATUS, **changes}


def test_a_signed_verdict_proves_itself_however_it_is_laid_out() -> None:
    compact = json.dumps(SIGNED, separators=(",", ":"), sort_keys=True).encode()
    assert codes(encode_verdict(SIGNED)) == codes(compact) == []
    assert prove(compact, KNOWN).kid == SIGNER.kid


def test_the_signature_is_a_detached_jws_of_the_documented_form() -> None:
    protected, payload, signature = str(SIGNED["signature"]).split(".")
    assert payload == ""
    padded = protected + "=" * (-len(protected) % 4)
    assert base64.urlsafe_b64decode(padded) == (
        b'{"alg":"EdDSA","kid":"' + SIGNER.kid.encode() + b'","typ":"conductor-status+jws"}'
    )
    assert len(base64.urlsafe_b64decode(signature + "==")) == 64


def test_the_kid_is_the_thumbprint_of_rfc_8037() -> None:
    """Appendix A.3 of RFC 8037 has the key and its thumbprint."""
    public = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    (kid,) = PublicKeys([public]).by_kid
    assert kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_another_key_is_refused() -> None:
    assert codes(encoded(), PublicKeys([STRANGER.public])) == ["unknown_kid"]


def test_a_stranger_who_names_our_key_is_refused() -> None:
    assert codes(signed_with_header(header(), STRANGER)) == ["signature_wrong"]


def test_an_altered_field_is_refused() -> None:
    assert codes(encoded(status="failed")) == ["signature_wrong"]


def test_an_altered_field_deep_inside_is_refused() -> None:
    attempts = [{"number": 1, "outcome": "failed"}]
    assert codes(encoded(attempts=attempts)) == ["signature_wrong"]


def test_an_added_field_is_refused() -> None:
    assert codes(encoded(note="trust me")) == ["signature_wrong"]


def test_a_removed_field_is_refused() -> None:
    document = {name: value for name, value in SIGNED.items() if name != "outputs"}
    assert codes(json.dumps(document).encode()) == ["signature_wrong"]


def test_a_duplicate_key_is_refused_whichever_is_the_signed_one() -> None:
    text = json.dumps(SIGNED)
    before = text.replace('"status"', '"status": "failed", "status"', 1)
    after = text.replace('"outputs"', '"status": "failed", "outputs"', 1)
    assert codes(before.encode()) == codes(after.encode()) == ["json_duplicate_key"]


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES256", "eddsa", "", None, 1])
def test_another_algorithm_is_refused_although_the_signature_is_right(algorithm: object) -> None:
    assert codes(signed_with_header(header(alg=algorithm))) == ["wrong_alg"]


@pytest.mark.parametrize("kind", [CUSTODY, "JWT", "", None])
def test_another_type_is_refused_although_the_signature_is_right(kind: object) -> None:
    assert codes(signed_with_header(header(typ=kind))) == ["wrong_typ"]


def test_the_signature_of_another_verdict_is_refused() -> None:
    other = signed_verdict({**VERDICT, "status": "failed"}, SIGNER.kid, SIGNER.sign)
    assert codes(encoded(signature=other["signature"])) == ["signature_wrong"]


@pytest.mark.parametrize("member", ["crit", "b64", "jwk", "x5u"])
def test_a_header_with_more_in_it_is_refused(member: str) -> None:
    assert codes(signed_with_header(header(**{member: "x"}))) == ["header_members"]


@pytest.mark.parametrize(
    "raw",
    [
        b"not json",
        b"[]",
        b'{"alg":"EdDSA","typ":"conductor-status+jws"}',
        b'{"typ":"conductor-status+jws","kid":"%b","alg":"EdDSA"}' % SIGNER.kid.encode(),
        b'{"alg":"EdDSA","alg":"EdDSA","kid":"%b","typ":"conductor-status+jws"}'
        % SIGNER.kid.encode(),
    ],
)
def test_a_header_that_we_would_not_write_is_refused(raw: bytes) -> None:
    assert codes(signed_with_header(raw)) == ["header_malformed"]


def test_a_verdict_without_a_signature_says_so() -> None:
    assert codes(json.dumps(VERDICT).encode()) == ["unsigned"]


def _without_payload_dot(signature: str) -> object:
    return signature.replace("..", ".")


def _with_payload(signature: str) -> object:
    return signature.replace("..", ".e30.")


def _padded(signature: str) -> object:
    return signature + "=="


def _cut(signature: str) -> object:
    return signature[:-1]


def _listed(signature: str) -> object:
    return [signature]


def _other_spelling(signature: str) -> object:
    """Two letters that stand for the same 64 bytes: the last four bits are padding."""
    return signature[:-1] + chr(ord(signature[-1]) + 1)


@pytest.mark.parametrize(
    "spoil", [_without_payload_dot, _with_payload, _padded, _cut, _listed, _other_spelling]
)
def test_a_malformed_signature_is_refused(spoil: Callable[[str], object]) -> None:
    signature = spoil(str(SIGNED["signature"]))
    assert codes(encoded(signature=signature)) == ["signature_malformed"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"worker_id": 0.0}, "profile_fraction"),
        ({"größe": 1}, "profile_key"),
        ({"message": "a\x7fb"}, "profile_character"),
        ({"worker_id": 2**53}, "profile_number"),
    ],
)
def test_what_is_off_the_profile_is_refused_before_the_signature_is_looked_at(
    changes: dict[str, Any], code: str
) -> None:
    assert codes(encoded(**changes)) == [code]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "json_syntax"),
        (b"{", "json_syntax"),
        (b"[]", "json_no_object"),
        (b"\xff{}", "json_not_utf8"),
        (b'{"a": NaN}', "json_not_a_number"),
        (b"[" * 100_000, "json_refused"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "json_refused"),
    ],
)
def test_what_is_no_verdict_at_all_says_so(data: bytes, code: str) -> None:
    assert codes(data) == [code]


def test_a_detached_signature_of_a_record_does_not_pass_for_a_verdicts() -> None:
    signature = detached_jws(VERDICT, CUSTODY, SIGNER.kid, SIGNER.sign)
    assert codes(encoded(signature=signature)) == ["wrong_typ"]
