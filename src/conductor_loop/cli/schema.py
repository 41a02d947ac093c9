"""`conductor-loop schema`: the contracts, to build producers and readers against."""

from __future__ import annotations

import argparse
import sys

from conductor_loop.contracts import schema_text
from conductor_loop.settings import Settings

NAME = "schema"
HELP = "Print the built-in JSON schema (2020-12) of an intent or of a verdict."
EXAMPLES = """\
conductor-loop schema > intent.schema.json
conductor-loop schema verdict | jq .required
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which contract."""
    parser.add_argument(
        "contract", nargs="?", choices=("intent", "verdict"), default="intent", help="which one"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  see the protocol
    """Print it as it was written."""
    sys.stdout.write(schema_text(args.contract))
    return 0
