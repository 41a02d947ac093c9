"""The contracts with users, as JSON schemas (draft 2020-12) that travel with the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

Contract = Literal["intent", "verdict"]


def schema_text(contract: Contract) -> str:
    """Give the schema as it was written, for people and for files."""
    # Not by importlib.resources: it costs every command zip files and temporary folders.
    return Path(__file__).with_name(f"{contract}.schema.json").read_text("utf-8")


def schema_of(contract: Contract) -> dict[str, object]:
    """Give the schema parsed, for validators."""
    schema: dict[str, object] = json.loads(schema_text(contract))
    return schema
