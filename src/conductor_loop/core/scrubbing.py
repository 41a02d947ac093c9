"""Secrets taken out of what is about to be shown, kept or signed.

Every expression takes time in proportion to the text, whatever that is: what repeats is possessive
or bounded, and no two attempts read the same run of characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SCRUBBED = "[scrubbed]"

_RUN = "[A-Za-z0-9_-]"
_START = f"(?<!{_RUN})"

# Python 3.11 before 3.11.5 matches `(...)*+`, a possessive group, wrongly (CPython gh-106052):
# only single characters are repeated like that.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    # To its end; no further than where the next one begins. Without an end: what is base64.
    r"(?:[^-]*+(?:-(?!----(?:BEGIN|END) )[^-]*+){0,400}-----END [A-Z0-9 ]{1,60}-----"
    r"|(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{16,}+)*)"
)
# The tail of an output may begin inside a key whose beginning was not kept.
_END_OF_PRIVATE_KEY = re.compile(r"\A[^-]*+-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")

_TOKENS = re.compile(
    _START + r"(?:"
    # RFC 7519, 3: a JSON object, so `{"` in base64url, and a dot.
    rf"eyJ{_RUN}{{5,}}+\.{_RUN}{{5,}}+(?:\.{_RUN}*+)?"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"  # AWS access keys
    r"|gh[oprsu]_[A-Za-z0-9]{20,}+|github_pat_[A-Za-z0-9_]{20,}+"
    rf"|gl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent)-{_RUN}{{16,}}+"  # GitLab
    r"|(?:AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,}+|ya29\.[A-Za-z0-9_-]{20,}+)"  # Google
    r"|xox[a-z]-[A-Za-z0-9-]{10,}+|xapp-[A-Za-z0-9-]{10,}+"  # Slack
    r"|hv[bs]\.[A-Za-z0-9_-]{20,}+"  # Vault
    r"|dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}+|dop_v1_[a-f0-9]{40,}+"  # Docker, DigitalOcean
    r"|npm_[A-Za-z0-9]{30,}+|pypi-[A-Za-z0-9_-]{30,}+|hf_[A-Za-z0-9]{30,}+"
    r"|sk(?:_live|_test)?[_-][A-Za-z0-9_-]{20,}+"  # Stripe and others
    r")"
)
_HEADERS = re.compile(
    r"((?:authorization|cookie)[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?)[^\r\n\"']++"
    r"|(\bbearer[ \t]{1,8})[A-Za-z0-9._~+/=-]{8,}+",
    re.IGNORECASE,
)
_WORDS = (
    r"(?:passw(?:or)?d|passphrase|passcode|secret|token|credential"
    r"|(?:api|access|account|private|signing)[_-]?key)"
)
_VALUE = r"(?:\\\"[^\"\n]*+\"?|\"(?:[^\"\\\n]|\\.)*\"?|'[^'\n]*+'?|[^\s\"',;&]++)"
_NAME = rf"{_WORDS}s?(?:[_-]?(?:key|value|hash|data|b64|base64))?"
_BLANKS = r"[ \t]{0,4}"
# Quotes may be escaped, as in JSON inside JSON.
_AFTER_QUOTED_NAME = rf"\\?[\"']{_BLANKS}(?:=>|:=|[:=]){_BLANKS}"
_AFTER_NAME = rf"{_BLANKS}(?:=>|:=|[:=]){_BLANKS}"
# In `exec: "/etc/passwd": permission denied`, none follows either.
_AFTER_QUOTED_NAME_IN_PROSE = (
    rf"\\?[\"'](?:{_BLANKS}(?:=>|:=|=){_BLANKS}|{_BLANKS}:{_BLANKS}(?=\\?[\"'0-9]))"
)
_AFTER_NAME_IN_PROSE = rf"(?:{_BLANKS}=>?{_BLANKS}|:=?(?![ \t]))"


def _assignments(after_quoted_name: str, after_name: str) -> re.Pattern[str]:
    named = rf"{_NAME}(?:{after_quoted_name}|{after_name})"
    return re.compile(rf"({named}|--{_WORDS}[ \t]{{1,4}}){_VALUE}", re.IGNORECASE)


_ASSIGNMENTS = _assignments(_AFTER_QUOTED_NAME, _AFTER_NAME)
_ASSIGNMENTS_IN_PROSE = _assignments(_AFTER_QUOTED_NAME_IN_PROSE, _AFTER_NAME_IN_PROSE)
_USER_INFO = re.compile(r"(?<=://)[^\s/\"'<>@]*+@(?:[^\s/\"'<>@]*+@)*")

# What must be there for an expression to match: looking for it costs next to nothing.
_IN_TOKENS = (
    *("eyJ", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "gl"),
    *("AIza", "GOCSPX-", "ya29.", "xox", "xapp-", "hvs.", "hvb.", "dckr_", "dop_v1_"),
    *("npm_", "pypi-", "hf_", "sk-", "sk_"),
)
_IN_HEADERS = ("authorization", "cookie", "bearer")
_IN_ASSIGNMENTS = ("passw", "passphrase", "passcode", "secret", "token", "credential", "key")
_IN_ANY = ("://", "-----BEGIN ", *_IN_TOKENS)
_IN_ANY_IN_LOWER_CASE = (*_IN_HEADERS, *_IN_ASSIGNMENTS)


def scrubbed(text: str) -> str:
    """Replace what looks like a secret: private keys, tokens, passwords, user info in URLs.

    What a secret is called stays, so that a reader knows what was there.
    """
    return _scrubbed(text, _ASSIGNMENTS)


def scrubbed_tail(text: str) -> str:
    """As `scrubbed`, for a text whose beginning is missing, perhaps that of a private key."""
    return scrubbed(_END_OF_PRIVATE_KEY.sub(SCRUBBED, text))


def scrubbed_message(text: str) -> str:
    """As `scrubbed`, for a sentence of ours: in `needs a token: give one`, no secret follows."""
    return _scrubbed(text, _ASSIGNMENTS_IN_PROSE)


def scrubbed_messages(texts: Sequence[str]) -> Sequence[str]:
    """Each as `scrubbed_message`; that none can hold a secret is told in one look at all."""
    return [scrubbed_message(text) for text in texts] if _may_hold("\n".join(texts)) else texts


def _may_hold(text: str) -> bool:
    """Whether any expression could match."""
    lower = text.lower()
    return any(part in text for part in _IN_ANY) or any(
        word in lower for word in _IN_ANY_IN_LOWER_CASE
    )


def _scrubbed(text: str, assignments: re.Pattern[str]) -> str:
    if "://" in text:
        text = _USER_INFO.sub(f"{SCRUBBED}@", text)
    if "-----BEGIN " in text:
        text = _PRIVATE_KEY.sub(SCRUBBED, text)
    if any(part in text for part in _IN_TOKENS):
        text = _TOKENS.sub(SCRUBBED, text)
    lower = text.lower()
    if any(word in lower for word in _IN_HEADERS):
        text = _HEADERS.sub(rf"\1\2{SCRUBBED}", text)
    if any(word in lower for word in _IN_ASSIGNMENTS):
        text = assignments.sub(rf"\1{SCRUBBED}", text)
    return text
