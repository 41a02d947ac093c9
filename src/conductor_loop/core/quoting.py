"""Values from strangers made fit for a message: cut, escaped, with a place to find them."""

from __future__ import annotations

from conductor_loop.core.legible import legible_line
from conductor_loop.core.scrubbing import scrubbed

LONGEST_TOKEN, LONGEST_POINTER = 64, 512
"""Characters of one key, and of a whole pointer; keys of the contract have at most 18."""


# Longer than any secret that is one word: a torn one would not be told.
_LONGEST_READ = 4096


def escaped(text: str, longest: int = 200) -> str:
    """Take out secrets, cut a text, and escape whatever does not show or would move a cursor."""
    text = scrubbed(text[:_LONGEST_READ])
    return legible_line(text if len(text) <= longest else text[:longest] + "…")


def quoted(value: object, longest: int = 60) -> str:
    """Show a JSON value as it stands in a document; arrays and objects by their size only."""
    match value:
        case str():
            return '"' + escaped(value, longest).replace('"', '\\"') + '"'
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case list():
            return f"an array of {len(value)}"
        case dict():
            return f"an object of {len(value)}"
    return escaped(repr(value), longest)


def pointer_to(parent: str, token: str | int) -> str:
    """Extend a JSON pointer by a key or an index (RFC 6901, section 3).

    A key that is very long or does not show stays out, and the pointer names what encloses it:
    pointers go to terminals and logs, where such a key could deceive or drown the reader.
    """
    text = str(token)
    if len(text) > LONGEST_TOKEN or len(parent) > LONGEST_POINTER or not text.isprintable():
        return parent
    return f"{parent}/{text.replace('~', '~0').replace('/', '~1')}"
