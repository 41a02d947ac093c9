"""The `README.md` of a package. What users wrote stands in code spans and cannot break out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from conductor_loop.core.hidden import (
    BIDI_CONTROLS,
    CONTROLS,
    SURROGATES,
    TAGS,
    WITHOUT_WIDTH,
)
from conductor_loop.core.intent import Intent

README = "README.md"

_BACKTICKS = re.compile("`+")
# A fixed list rather than Unicode's own tables, which grow with Python and would change the bytes.
_UNSEEN = re.compile(f"[\t\n{CONTROLS}{SURROGATES}{BIDI_CONTROLS}{WITHOUT_WIDTH}{TAGS}]")
_FOOTER = (
    "Conductor Loop writes this folder and replaces it as a whole; change the intent, not the files"
)


def readme(title: str, intent: Intent, sections: Sequence[str]) -> bytes:
    """Put a README together; title and sections are Markdown of ours."""
    facts = "\n".join(
        f"- {label}: {code_span(text)}"
        for label, text in (
            ("Reason", intent.reason),
            ("Description", intent.description),
            ("Source", intent.source),
            ("Correlation id", intent.correlation_id),
        )
        if text.strip()
    )
    parts = [f"# {title}", *([facts] if facts else []), *sections, f"{_FOOTER}."]
    return ("\n\n".join(parts) + "\n").encode()


def code_span(text: str) -> str:
    """Quote text as a CommonMark code span, in which nothing has a meaning.

    The fence is longer than any run of backticks within (CommonMark 0.31, 6.1). White space becomes
    single blanks, so that no line can end the paragraph; unseen characters become U+FFFD.
    """
    line = _UNSEEN.sub("\ufffd", " ".join(text.split()))
    longest = max((len(run) for run in _BACKTICKS.findall(line)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{fence}{padding}{line}{padding}{fence}"
