"""Characters that a reader cannot see, or that change what the reader sees around them."""

from __future__ import annotations

import re

# Ranges as in a regular expression's class; Unicode 15, properties Bidi_Control and
# Default_Ignorable_Code_Point without the variation selectors, which emoji need.
CONTROLS = "\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"
"""Control characters but TAB and LF, and the two other characters that end a line."""
SURROGATES = "\ud800-\udfff"
BIDI_CONTROLS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
WITHOUT_WIDTH = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065"
    "\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
)
TAGS = "\U000e0000-\U000e007f"

_KINDS = (
    ("json_control_character", "a control character", CONTROLS),
    ("json_lone_surrogate", "half of a surrogate pair", SURROGATES),
    ("json_bidi_control", "a character that reorders text", BIDI_CONTROLS),
    ("json_zero_width", "a character without width", WITHOUT_WIDTH),
    ("json_tag_character", "an invisible tag character", TAGS),
)
_ANY = re.compile(f"[{CONTROLS}{SURROGATES}{BIDI_CONTROLS}{WITHOUT_WIDTH}{TAGS}]")


def find_hidden(text: str) -> tuple[int, str, str] | None:
    """Find the first hidden character: its index, the code of the fault, and what it is."""
    found = _ANY.search(text)
    if found is None:
        return None
    code, what = next((c, w) for c, w, kind in _KINDS if re.match(f"[{kind}]", found[0]))
    return found.start(), code, what
