"""`conductor-loop validate FILE...`: every fault of an intent, before anybody hands it over."""

from __future__ import annotations

import argparse

from conductor_loop.cli.checking import Judged, fault_fields, judge, print_faults
from conductor_loop.cli.flags import OF_INTENTS, add_settings
from conductor_loop.cli.terminal import print_json, print_line, print_raised, print_warning, problem
from conductor_loop.core.faults import UsageError
from conductor_loop.settings import Settings
from conductor_loop.settings.intake import intake_rules

NAME = "validate"
HELP = (
    "Check intents with the rules that the daemon goes by, and tell every fault with its place\n"
    "(a JSON pointer) and a hint. Nothing is handed over.\n\n"
    "Exit status: 0 all are fine; 8 one is not; 2 a file cannot be read."
)
EXAMPLES = """\
conductor-loop validate intent-scale-up.json
conductor-loop validate --json handoff/failed/intent-*.json
generate | conductor-loop validate -
"""
_BAD_INTENT, _USAGE = 8, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, and the settings that the rules follow from."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="an intent; - is standard input")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_settings(parser, *OF_INTENTS)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Check all files, also behind one that cannot be read."""
    rules = intake_rules(settings)
    found: list[Judged | UsageError] = []
    for source in args.files:
        try:
            found.append(judge(source, rules, settings.max_file_size))
        except UsageError as error:
            found.append(error)
            print_raised(error)
    judged = [one for one in found if isinstance(one, Judged)]
    if args.json:
        print_json([_fields(*each) for each in zip(args.files, found, strict=True)])
    else:
        for one in judged:
            _print(one)
    if len(judged) < len(found):
        return _USAGE
    return _BAD_INTENT if any(one.faults for one in judged) else 0


def _print(one: Judged) -> None:
    count = len(one.faults)
    verdict = "ok" if not count else "1 fault" if count == 1 else f"{count} faults"
    print_line(f"{one.source}: {verdict}")
    print_faults(one.faults)
    if one.is_misnamed:
        print_warning(f"{one.source} would not be picked up: its name is not intent-*.json")


def _fields(source: str, one: Judged | UsageError) -> dict[str, object]:
    if isinstance(one, UsageError):
        return {"file": source, "valid": False, "error": problem(one)}
    return {
        "file": one.source,
        "valid": not one.faults,
        "name_is_picked_up": not one.is_misnamed,
        "sha256": one.digest or None,
        "faults": fault_fields(one.faults),
    }
