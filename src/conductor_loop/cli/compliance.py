"""`conductor-loop compliance`: controls of public catalogues against evidence checked now."""

from __future__ import annotations

import argparse
import sys

from conductor_loop.settings import Settings

NAME = "compliance"
HELP = (
    "Hold controls that an application can show something about (CIS Kubernetes, OWASP ASVS 5,\n"
    "NIST CSF 2.0, O-RAN WG11) against what is there now: pass, fail, not applicable or manual,\n"
    "each with its evidence. The report is signed; `conductor-loop verify` takes its JSON form.\n"
    "Run it as the daemon's user. Exit 0 when nothing fails, 8 when something does."
)
EXAMPLES = """\
conductor-loop compliance report
conductor-loop compliance report --format json > report.json && conductor-loop verify report.json
conductor-loop compliance report --format html > report.html
"""
_NOT_GOOD = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and the form."""
    parser.add_argument("task", choices=["report"])
    parser.add_argument(
        "--format", choices=["md", "json", "html"], default="md", help="form of the report"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Look, sign and print."""
    from conductor_loop.core.compliance import report as form
    from conductor_loop.operations.compliance import compliance_report

    report = compliance_report(settings)
    write = {"md": form.as_markdown, "json": form.as_json, "html": form.as_html}[args.format]
    sys.stdout.write(write(report))
    return _NOT_GOOD if any(row.result == "fail" for row in report.controls) else 0
