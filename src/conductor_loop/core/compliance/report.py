"""The report: one signed document, and how it looks as Markdown and as HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping

import msgspec

from conductor_loop.core.compliance.controls import CONTROLS, Evidence, judged
from conductor_loop.core.jws import COMPLIANCE, FIELD, Sign, detached_jws
from conductor_loop.core.legible import legible_line

KIND = "compliance-report"
NOTE = (
    "What this program could look at by itself, when it looked. It is evidence for whoever"
    " assesses a system, and no assessment of one."
)
_STYLE = "body{font:1em sans-serif;max-width:70em;margin:2em auto}td,th{text-align:left}"


class Row(msgspec.Struct, frozen=True):
    """One control with its result."""

    catalogue: str
    control: str
    title: str
    result: str
    evidence: list[str]


class Report(msgspec.Struct, frozen=True):
    """The document, as it is signed."""

    kind: str
    generated_at: str
    conductor_version: str
    note: str
    controls: list[Row]
    signature: str = ""


def signed_report(
    found: dict[str, Evidence], at: str, version: str, kid: str, sign: Sign
) -> Report:
    """Judge every control by what was found, and sign the whole; `at` is RFC 3339, UTC."""
    rows = [
        Row(
            control.catalogue,
            control.number,
            control.title,
            judged(control, found).value,
            [
                f"{name}: {found[name].result}: {legible_line(found[name].told)}"
                for name in control.evidence
            ],
        )
        for control in CONTROLS
    ]
    report = Report(KIND, at, version, NOTE, rows)
    document: Mapping[str, object] = msgspec.to_builtins(report)
    unsigned = {name: value for name, value in document.items() if name != FIELD}
    signature = detached_jws(unsigned, COMPLIANCE, kid, sign)
    return msgspec.structs.replace(report, signature=signature)


def as_json(report: Report) -> str:
    """The signed document itself, which `conductor-loop verify` takes."""
    return json.dumps(msgspec.to_builtins(report), indent=2, ensure_ascii=False) + "\n"


def as_markdown(report: Report) -> str:
    """A table for people, and the signed document behind it."""
    return "\n".join(_markdown(report)) + "\n"


def as_html(report: Report) -> str:
    """One file without script or anything loaded."""
    rows = "\n".join(map(_html_row, report.controls))
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>Compliance evidence</title>"
        f"<style>{_STYLE}</style>\n<h1>Compliance evidence</h1>\n"
        f"<p>{html.escape(_heading(report))}</p>\n<p>{html.escape(report.note)}</p>\n"
        "<table><tr><th>Catalogue<th>Control<th>Title<th>Result<th>Evidence</tr>\n"
        f"{rows}\n</table>\n<h2>Signed document</h2>\n<pre>{html.escape(as_json(report))}</pre>\n"
        "</html>\n"
    )


def _markdown(report: Report) -> Iterator[str]:
    yield "# Compliance evidence\n"
    yield f"{_heading(report)}\n\n{report.note}\n"
    yield "| Catalogue | Control | Title | Result | Evidence |\n|---|---|---|---|---|"
    for row in report.controls:
        told = "; ".join(row.evidence)
        cells = (row.catalogue, row.control, row.title, row.result, told)
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield f"\n## Signed document\n\n````json\n{as_json(report)}````"


def _heading(report: Report) -> str:
    return f"conductor-loop {report.conductor_version}, looked at {report.generated_at}."


def _cell(text: str) -> str:
    return html.escape(text.replace("\\", "\\\\").replace("|", "\\|"), quote=False)


def _html_row(row: Row) -> str:
    cells = (row.catalogue, row.control, row.title, row.result)
    told = "<br>".join(map(html.escape, row.evidence))
    return f"<tr>{''.join(f'<td>{html.escape(cell)}' for cell in cells)}<td>{told}</tr>"
