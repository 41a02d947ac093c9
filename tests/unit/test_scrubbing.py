"""Secrets are taken out, what they are called stays, and no text takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.child_output import Printed, cleaned
from conductor_loop.core.quoting import quoted
from conductor_loop.core.scrubbing import scrubbed, scrubbed_message, scrubbed_messages

BASE64 = "MC4CAQAwBQYDK2VwBCIEIGgy/EECEdJMNJVbJhepzyjmVpOXlA8E5pfQWvo7Aa7"
PEM = f"-----BEGIN PRIVATE KEY-----\n{BASE64}\n{BASE64}\n-----END PRIVATE KEY-----"
OLD_PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,3F17\n\n"
    f"{BASE64}\n-----END RSA PRIVATE KEY-----"
)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"read {PEM} from disk", "read [scrubbed] from disk"),
        (OLD_PEM, "[scrubbed]"),
        (PEM.replace("\n", "\\n"), "[scrubbed]"),
        (f"{PEM}\n{OLD_PEM}\nend", "[scrubbed]\n[scrubbed]\nend"),
        (PEM.replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK"), "[scrubbed]"),
        (f"-----BEGIN PRIVATE KEY-----\n{BASE64}\nwas cut", "[scrubbed]\nwas cut"),
        ("expected -----BEGIN PRIVATE KEY----- in f", "expected [scrubbed] in f"),
        (f"session {JWT} expired", "session [scrubbed] expired"),
        ("AKIAIOSFODNN7EXAMPLE is blocked", "[scrubbed] is blocked"),
        ("ghp_" + "a1B2" * 9, "[scrubbed]"),
        ("github_pat_" + "a1B2_" * 9, "[scrubbed]"),
        ("glpat-" + "x" * 20, "[scrubbed]"),
        ("xoxb-1234567890-abcdef", "[scrubbed]"),
        ("AIza" + "b" * 35, "[scrubbed]"),
        ("ya29." + "c" * 30, "[scrubbed]"),
        ("hvs." + "d" * 24, "[scrubbed]"),
        ("npm_" + "e" * 36, "[scrubbed]"),
        ("Authorization: Bearer abc.def", "Authorization: [scrubbed]"),
        ("> authorization: Basic dXNlcjpwYXNz\r\n< HTTP/1.1 401", None),
        ("curl -H 'Authorization: token abc' https://x", None),
        ("Set-Cookie: session=abc; Path=/", "Set-Cookie: [scrubbed]"),
        ("sent bearer 0123456789abcdef", "sent bearer [scrubbed]"),
        ("password=hunter2", "password=[scrubbed]"),
        ("DB_PASSWORD: hunter2", "DB_PASSWORD: [scrubbed]"),
        ("passwd = 'a b c' next", "passwd = [scrubbed] next"),
        ('{"client_secret": "a\\"b c", "n": 1}', '{"client_secret": [scrubbed], "n": 1}'),
        (r"{\"token\":\"abc\"}", r"{\"token\":[scrubbed]}"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+1", "AWS_SECRET_ACCESS_KEY=[scrubbed]"),
        ("X-Api-Key: 12345", "X-Api-Key: [scrubbed]"),
        ("AccountKey=abc==;EndpointSuffix=x", "AccountKey=[scrubbed];EndpointSuffix=x"),
        ("?access_token=abc&page=2", "?access_token=[scrubbed]&page=2"),
        ("--password hunter2 --verbose", "--password [scrubbed] --verbose"),
        ("password => hunter2", "password => [scrubbed]"),
        ("https://user:pa@ss@git.example/x", "https://[scrubbed]@git.example/x"),
        ("clone https://abc@git.example", "clone https://[scrubbed]@git.example"),
    ],
)
def test_a_secret_is_replaced_and_its_name_stays(text: str, seen: str | None) -> None:
    found = scrubbed(text)
    assert "[scrubbed]" in found
    if seen is not None:
        assert found == seen
    assert not any(word in found for word in ("hunter2", "abc.def", "dXNlcjpwYXNz", BASE64, "pa@"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no such target: oran-sim/cnf-simulator",
        "error: the token was refused",
        "https://git.example/x?page=2 answered 404",
        "user@host:/path",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "a key: value",
        "task-0123456789abcdef0123456789",
        "sha256:68e10839890b8c89a67c61d13c5cc0ee0d6b7d04e61a98ffc2ba72f1010c4592",
        "eyJ is how a JWT begins",
        "id 01M851AW4F4A3PH3CG26M54KX6 in 683µs",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrubbed(text) == scrubbed_message(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "metrics need a token: give -token-file FILE",
        "a mounted Secret: defaultMode: 0400",
        'porch validation failed: exec: "/etc/passwd": permission denied',
        'exec: "./token": stat ./token: no such file or directory',
    ],
)
def test_a_sentence_of_ours_about_a_secret_stays_whole(text: str) -> None:
    assert scrubbed_message(text) == text


def test_a_number_behind_a_quoted_name_is_taken_for_a_secret_in_a_sentence_of_ours() -> None:
    assert scrubbed_message('it said "token": 20481632') == 'it said "token": [scrubbed]'


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        "token:hunter2",
        '"password": "hunter2"',
        '"password" = hunter2',
        r"{\"password\": \"hunter2\"}",
        "--token hunter2",
    ],
)
def test_a_sentence_of_ours_with_a_secret_in_it_does_not(text: str) -> None:
    assert "hunter2" not in scrubbed_message(f"porch said {text} and ended")


@given(st.text(st.sampled_from("abcé=:\"'\\ \n-@/._") | st.characters(), max_size=200))
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    once = scrubbed(text)
    assert scrubbed(once) == once


@given(st.sampled_from(["password=", "token: ", "https://u:", "secret='"]), st.text(max_size=20))
def test_a_labelled_secret_never_shows(label: str, around: str) -> None:
    secret = "Zx9kQv7w"
    assert secret not in scrubbed(f"{around} {label}{secret}@host {around}")


def test_a_quoted_value_of_an_intent_is_scrubbed_before_it_is_cut() -> None:
    assert quoted("x" * 40 + " password=" + "s" * 100) == '"' + "x" * 40 + ' password=[scrubbed]"'
    assert quoted("ghp_" + "a" * 100) == '"[scrubbed]"'


# What a child printed, of which the middle was not kept.


def test_row_32_a_secret_torn_in_two_shows_neither_half() -> None:
    token = b"ghp_" + b"a1B2" * 9
    printed = Printed(b"used " + token[:12], token[12:] + b" and ended", 10_000)
    assert cleaned(printed) == ("used \n[... 9,945 bytes and more cut here ...]\n and ended")


def test_row_32_half_a_private_key_does_not_show_either() -> None:
    head = f"key:\n-----BEGIN PRIVATE KEY-----\n{BASE64}\n{BASE64[:20]}".encode()
    tail = f"{BASE64[20:]}\n{BASE64}\n-----END PRIVATE KEY-----\nended".encode()
    text = cleaned(Printed(head, tail, 10_000))
    assert text.startswith("key:\n[scrubbed]")
    assert text.endswith("]\n[scrubbed]\nended")
    assert BASE64[:8] not in text


def test_row_32_a_secret_hidden_in_colours_does_not_show() -> None:
    data = b"pass\x1b[1mword=\x1b[31mhunter2\x1b[0m"
    assert cleaned(Printed(data, b"", len(data))) == "password=[scrubbed]"


def test_row_32_a_secret_is_not_cut_in_two_by_the_last_cut() -> None:
    data = b"a" * 45 + b" password=" + b"s" * 4_000
    text = cleaned(Printed(data, b"", len(data)), shown=50)
    assert "sss" not in text


def test_without_scrubbing_everything_shows() -> None:
    data = b"password=hunter2"
    assert cleaned(Printed(data, b"", len(data)), scrub=False) == "password=hunter2"


@given(
    st.lists(st.sampled_from([PEM, JWT, "a b", "", "token=x", "http://u:p@h", "Bearer abcdefgh"]))
)
def test_several_messages_are_scrubbed_as_each_alone(texts: list[str]) -> None:
    assert list(scrubbed_messages(texts)) == [scrubbed_message(text) for text in texts]


HOSTILE = {
    "nothing": "a",
    "beginnings of keys": "-----BEGIN PRIVATE KEY-----",
    "nearly beginnings": "-----BEGIN ",
    "kinds of keys": "PRIVATE KEY ",
    "beginnings of tokens": "eyJ-",
    "halves of tokens": "eyJaaaaa.aaaa ",
    "words": "password",
    "words with blanks": "password         ",
    "open quotes": 'password="',
    "backslashes": 'password="\\',
    "headers": "authorization ",
    "bearers": "bearer-",
    "user infos": "://@",
    "ats": "://a@",
    "options": "--token",
    "too short tokens": "sk-aaaaaaaaaaaaaaaaaaa ",
    "open strings": "\x9d",
    "escapes": "\x1b]",
    "spaces after an escape": "\x1b ",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_row_32_a_mebibyte_of_anything_is_cleaned_in_time(piece: str) -> None:
    """Were any expression quadratic, this would take hours; it takes about a second."""
    data = (piece * (MEBIBYTE // len(piece)) + "\x1bX").encode()
    began = time.process_time()
    cleaned(Printed(data, b"", len(data)))
    cleaned(Printed(data, data, 3 * len(data)))
    assert time.process_time() - began < 60
