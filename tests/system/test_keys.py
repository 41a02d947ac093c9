"""The keys in a real folder: made, refused, lost, given, rotated, and killed on the way."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conductor_loop import disk
from conductor_loop.adapters.keys.formats import NoKey, private_pem, read_public_keys
from conductor_loop.adapters.keys.public import (
    KeysUnusable,
    PublicKeys,
    keys_of,
    read_chain,
    trust_successors,
)
from conductor_loop.adapters.keys.store import Keys, open_keys, rotate_own_key

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESSAGE = b"a message"
STEPS = 16
"""More than the first run or a rotation takes, so that the last one is not killed."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def opened(state: Path, given: Path | None = None) -> Keys:
    return open_keys(state, NOW, "alice", given=given)


def refused(state: Path, given: Path | None = None) -> str:
    """The code of the refusal, which always has a hint."""
    with pytest.raises(KeysUnusable) as caught:
        opened(state, given)
    assert caught.value.hint
    return caught.value.code


def files(state: Path) -> dict[str, int]:
    return {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in sorted((state / "keys").iterdir())
    }


def a_key(path: Path, number: int = 7, mode: int = 0o600) -> Path:
    path.write_bytes(private_pem(number.to_bytes(32, "big")))
    path.chmod(mode)
    return path


def generated(algorithm: str, path: Path) -> None:
    """Have openssl make a private key."""
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", algorithm, "-out", path],
        check=True,
        capture_output=True,
    )


def holds(state: Path) -> bool:
    return not keys_of(read_chain(state))[1]


# Made.


def test_the_first_run_makes_a_key_that_only_we_can_read(state: Path) -> None:
    previous = os.umask(0)
    try:
        keys = opened(state)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((state / "keys").stat().st_mode) == 0o700
    assert files(state) == {"custody.jsonl": 0o600, "signing.pem": 0o600}
    assert keys.is_signed(keys.kid, MESSAGE, keys.sign(MESSAGE))


def test_the_next_run_has_the_same_key(state: Path) -> None:
    first = opened(state)
    second = opened(state)
    assert second.kid == first.kid
    assert second.sign(MESSAGE) == first.sign(MESSAGE)
    assert len(read_chain(state)) == 1


def test_a_key_knows_no_other_message_and_no_other_key(state: Path) -> None:
    keys = opened(state)
    assert not keys.is_signed(keys.kid, b"another", keys.sign(MESSAGE))
    assert not keys.is_signed("nobody", MESSAGE, keys.sign(MESSAGE))
    assert not keys.knows("nobody")


@pytest.mark.needs("openssl")
def test_openssl_reads_our_keys_and_we_read_those_of_openssl(state: Path, tmp_path: Path) -> None:
    keys = opened(state)
    own = state / "keys" / "signing.pem"
    public = subprocess.run(
        ["openssl", "pkey", "-in", own, "-pubout"], capture_output=True, check=True
    ).stdout
    assert list(PublicKeys(read_public_keys(public)).by_kid) == [keys.kid]

    made = tmp_path / "made.pem"
    generated("ed25519", made)
    assert opened(state, made).kid != keys.kid


# Row 27 of the abuse table: readable, swapped, missing.


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o601])
def test_row_27_a_key_that_others_may_read_or_change_is_refused(state: Path, mode: int) -> None:
    opened(state)
    (state / "keys" / "signing.pem").chmod(mode)
    assert refused(state) == "key_not_private"


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o770])
def test_row_27_a_folder_of_keys_that_others_may_enter_is_refused(state: Path, mode: int) -> None:
    opened(state)
    (state / "keys").chmod(mode)
    assert refused(state) == "key_not_private"


def test_row_27_a_swapped_key_is_refused(state: Path) -> None:
    opened(state)
    a_key(state / "keys" / "signing.pem")
    assert refused(state) == "key_swapped"


def test_row_27_a_key_that_is_a_link_is_refused(state: Path, tmp_path: Path) -> None:
    opened(state)
    own = state / "keys" / "signing.pem"
    own.rename(tmp_path / "elsewhere.pem")
    own.symlink_to(tmp_path / "elsewhere.pem")
    assert refused(state) == "keys_unusable"


def test_row_27_a_folder_of_keys_that_is_a_link_is_refused(state: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (state / "keys").symlink_to(tmp_path / "elsewhere")
    assert refused(state) == "keys_unusable"


def test_row_27_a_missing_key_is_made_anew_and_that_is_said_and_recorded(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost = opened(state)
    (state / "keys" / "signing.pem").unlink()
    keys = opened(state)
    assert keys.kid != lost.kid
    assert f"the signing key {lost.kid} is missing" in caplog.text
    second = read_chain(state)[1]
    assert (second.reason, second.previous, second.is_vouched_for) == ("replaced", lost.kid, False)
    assert holds(state)


def test_row_27_what_the_lost_key_signed_still_verifies(state: Path) -> None:
    lost = opened(state)
    signature = lost.sign(MESSAGE)
    (state / "keys" / "signing.pem").unlink()
    assert opened(state).is_signed(lost.kid, MESSAGE, signature)


def test_row_27_a_chain_that_was_changed_is_refused(state: Path) -> None:
    opened(state)
    rotate_own_key(state, NOW, "bob")
    path = state / "keys" / "custody.jsonl"
    path.write_text(path.read_text().replace('"by":"bob"', '"by":"eve"'))
    assert refused(state) == "custody_broken"


def test_row_27_a_chain_with_a_record_missing_is_refused(state: Path) -> None:
    opened(state)
    rotate_own_key(state, NOW, "bob")
    path = state / "keys" / "custody.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[1])
    assert refused(state) == "custody_broken"


def test_row_27_a_key_put_into_the_chain_by_a_stranger_is_refused(
    state: Path, tmp_path: Path
) -> None:
    """Signed by itself, it may follow; signed as if by another, it may not."""
    opened(state)
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    opened(other)
    rotate_own_key(other, NOW, "eve")
    ours = (state / "keys" / "custody.jsonl").read_text().splitlines()
    theirs = (other / "keys" / "custody.jsonl").read_text().splitlines()
    kids = re.findall(r'"previous":"([^"]+)"', theirs[1])
    forged = theirs[1].replace(kids[0], opened(state).kid)
    (state / "keys" / "custody.jsonl").write_text("\n".join([*ours, forged]) + "\n")
    assert refused(state) == "custody_broken"


@pytest.mark.parametrize("data", [b"", b"not a key", private_pem(bytes(32))[:60]])
def test_a_damaged_key_is_refused(state: Path, data: bytes) -> None:
    opened(state)
    (state / "keys" / "signing.pem").write_bytes(data)
    assert refused(state) == "key_unreadable"


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("algorithm", ["x25519", "ed448"])
def test_a_key_of_another_kind_is_refused(state: Path, tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "other.pem"
    generated(algorithm, path)
    assert refused(state, path) == "key_unreadable"


# Given by -key-file.


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_given_key_may_be_readable_for_its_group_as_kubernetes_mounts_it(
    state: Path, tmp_path: Path, mode: int
) -> None:
    given = a_key(tmp_path / "given.pem", mode=mode)
    keys = opened(state, given)
    assert keys.is_signed(keys.kid, MESSAGE, keys.sign(MESSAGE))
    assert files(state) == {"custody.jsonl": 0o600}


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o660, 0o604, 0o602])
def test_row_27_a_given_key_that_others_may_read_is_refused(
    state: Path, tmp_path: Path, mode: int
) -> None:
    assert refused(state, a_key(tmp_path / "given.pem", mode=mode)) == "key_not_private"


def test_a_given_key_may_be_a_link_as_kubernetes_mounts_it(state: Path, tmp_path: Path) -> None:
    a_key(tmp_path / "version-1.pem")
    (tmp_path / "given.pem").symlink_to("version-1.pem")
    assert opened(state, tmp_path / "given.pem").kid


def test_a_given_key_that_is_not_there_is_refused(state: Path, tmp_path: Path) -> None:
    assert refused(state, tmp_path / "none.pem") == "key_unreadable"
    assert not read_chain(state)


def test_our_own_key_vouches_for_a_given_one_and_is_gone(state: Path, tmp_path: Path) -> None:
    own = opened(state)
    keys = opened(state, a_key(tmp_path / "given.pem"))
    record = read_chain(state)[-1]
    assert (record.reason, record.voucher) == ("given", own.kid)
    assert record.is_vouched_for
    assert files(state) == {"custody.jsonl": 0o600}
    assert keys.is_signed(own.kid, MESSAGE, own.sign(MESSAGE))


def test_another_given_key_is_recorded_and_nobody_vouches_for_it(
    state: Path, tmp_path: Path
) -> None:
    for number in (7, 8, 7):
        opened(state, a_key(tmp_path / "given.pem", number))
    opened(state, tmp_path / "given.pem")
    chain = read_chain(state)
    assert [record.is_vouched_for for record in chain] == [False] * 3
    assert chain[0].kid == chain[2].kid != chain[1].kid
    assert holds(state)


def test_a_given_key_is_rotated_where_it_comes_from(state: Path, tmp_path: Path) -> None:
    keys = opened(state, a_key(tmp_path / "given.pem"))
    with pytest.raises(KeysUnusable, match="from -key-file"):
        keys.rotate(NOW, "bob")
    with pytest.raises(KeysUnusable, match="from -key-file"):
        rotate_own_key(state, NOW, "bob")
    assert opened(state, tmp_path / "given.pem").kid == keys.kid


# Rotated.


def test_after_a_rotation_the_new_key_signs_and_the_old_one_vouches_for_it(state: Path) -> None:
    keys = opened(state)
    old, signature = keys.kid, keys.sign(MESSAGE)
    new = keys.rotate(NOW, "bob")
    assert keys.kid == new != old
    assert keys.is_signed(old, MESSAGE, signature)
    assert keys.is_signed(new, MESSAGE, keys.sign(MESSAGE))
    record = read_chain(state)[-1]
    assert (record.by, record.reason, record.voucher) == ("bob", "rotated", old)
    assert opened(state).kid == new


def test_the_old_private_key_is_gone_after_a_rotation(state: Path) -> None:
    keys = opened(state)
    before = (state / "keys" / "signing.pem").read_bytes()
    keys.rotate(NOW, "bob")
    assert all(before not in path.read_bytes() for path in (state / "keys").iterdir())
    assert files(state) == {"custody.jsonl": 0o600, "signing.pem": 0o600}


def test_whoever_trusts_the_first_key_trusts_those_that_it_vouches_for(state: Path) -> None:
    keys = opened(state)
    first = PublicKeys([keys_of(read_chain(state))[0].by_kid[keys.kid]])
    second = keys.rotate(NOW, "bob")
    third = keys.rotate(NOW, "bob")
    (state / "keys" / "signing.pem").unlink()
    stranger = opened(state).kid
    trust_successors(first, read_chain(state))
    assert [first.knows(kid) for kid in (second, third, stranger)] == [True, True, False]


class _Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


@pytest.fixture(params=range(1, STEPS))
def nth(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch, nth: int) -> Iterator[list[str]]:
    """The process ends before the n-th step that changes something on disk."""
    steps: list[str] = []

    def wrapped(module: object, name: str) -> None:
        real = getattr(module, name)

        def step(*args: object, **kwargs: object) -> object:
            steps.append(name)
            if len(steps) == nth:
                raise _Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, step)

    for name in ("write_new", "sync"):
        wrapped(disk, name)
    for name in ("rename", "unlink", "mkdir"):
        wrapped(os, name)
    yield steps
    monkeypatch.undo()


def test_killed_before_any_step_of_the_first_run_there_is_a_key_in_the_end(
    state: Path, dies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.suppress(_Killed):
        opened(state)
    monkeypatch.undo()
    keys = opened(state)
    assert [record.kid for record in read_chain(state)] == [keys.kid]
    assert files(state) == {"custody.jsonl": 0o600, "signing.pem": 0o600}


def test_killed_before_any_step_of_a_rotation_one_key_signs_and_both_verify(
    state: Path, nth: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = opened(state)
    old, signature = keys.kid, keys.sign(MESSAGE)
    request.getfixturevalue("dies")
    with contextlib.suppress(_Killed):
        keys.rotate(NOW, "bob")
    monkeypatch.undo()
    after = opened(state)
    chain = read_chain(state)
    assert (nth < STEPS - 1) or len(chain) == 2
    assert after.kid == chain[-1].kid
    assert chain[0].kid == old
    assert len(chain) <= 2
    assert after.is_signed(old, MESSAGE, signature)
    assert after.is_signed(after.kid, MESSAGE, after.sign(MESSAGE))
    assert files(state).keys() == {"custody.jsonl", "signing.pem"}


def test_a_rotation_that_failed_half_way_can_be_repeated_at_once(
    state: Path, nth: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon lives on with the old key in memory; the chain may name the new one already."""
    keys = opened(state)
    request.getfixturevalue("dies")
    with contextlib.suppress(_Killed):
        keys.rotate(NOW, "bob")
    monkeypatch.undo()
    new = keys.rotate(NOW, "bob")
    assert opened(state).kid == new
    assert holds(state)
    assert all(record.is_vouched_for for record in read_chain(state)[1:])


# Public keys from files.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [{"kty": "RSA"}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "!"}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "mine",'
        b' "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
        private_pem(bytes(32)),
    ],
)
def test_what_holds_no_public_key_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(NoKey):
        read_public_keys(data)


def test_other_kinds_of_keys_in_a_jwk_set_are_passed_over() -> None:
    data = (
        b'{"keys": [{"kty": "RSA", "n": "x"}, {"kty": "OKP", "crv": "Ed25519",'
        b' "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
    )
    assert len(read_public_keys(data)) == 1
