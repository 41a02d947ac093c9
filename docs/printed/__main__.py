"""Write every printed page anew."""

from __future__ import annotations

from docs.printed.pages import DOCS, PAGES

for name, page in PAGES.items():
    (DOCS / name).write_text(page(), encoding="utf-8")
