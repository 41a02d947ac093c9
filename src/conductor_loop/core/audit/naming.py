"""How the files of the log are named, in a state dir and in a backup of it."""

from __future__ import annotations

FOLDER = "audit"
LOG_FILE = r"audit-([0-9]{12})\.jsonl"
"""A regular expression; the number is the seq of the first record."""
SIGNATURE = b'"signature":"'
"""Stands in a line exactly when it is signed: quotes inside texts are escaped."""
