"""What somebody probably meant: the nearest of the words that would have been right."""

from __future__ import annotations

from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that this one is most like, if any is like it at all."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ask back with the closest known word; empty when none is close."""
    match = closest(word, known)
    return f"did you mean {match}?" if match else ""
