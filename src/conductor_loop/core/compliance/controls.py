"""The controls, by the numbers of their catalogues, each with the evidence that speaks to it.

Only those that an application can show something about; titles are in our words. Sources: CIS
Kubernetes Benchmark 1.24 and later, section 5; OWASP ASVS 5.0.0, chapters V2, V15 and V16; NIST
CSF 2.0, function Protect; ETSI TS 104 104 V9.1.0 (O-RAN WG11 security requirements), 5.3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CIS = "CIS Kubernetes Benchmark"
ASVS = "OWASP ASVS 5.0"
CSF = "NIST CSF 2.0"
ORAN = "O-RAN WG11 / ETSI TS 104 104"


class Result(StrEnum):
    """What the evidence says."""

    PASS = "pass"  # noqa: S105  no word that lets anybody in
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"
    MANUAL = "manual"
    """No program can tell from here; the evidence says what to look at."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that was looked at just now."""

    result: Result
    told: str


@dataclass(frozen=True, slots=True)
class Control:
    """One control, and the names of what speaks to it; the worst of these decides."""

    catalogue: str
    number: str
    title: str
    evidence: tuple[str, ...]


CONTROLS = (
    Control(CIS, "5.2.6", "No gain of privileges in the pod", ("pod",)),
    Control(CIS, "5.2.7", "Containers do not run as root", ("user",)),
    Control(CIS, "5.4.1", "Secrets come as files, not as environment variables", ("key",)),
    Control(ASVS, "2.2.1", "Input is held to an expected structure and limits", ("input",)),
    Control(ASVS, "15.2.5", "Dangerous parts run behind additional protection", ("sandbox",)),
    Control(ASVS, "16.2.1", "Log records say when, where, who and what", ("records",)),
    Control(ASVS, "16.2.2", "Clocks agree, and times carry their zone", ("zone", "time")),
    Control(ASVS, "16.2.5", "Secrets do not reach the logs", ("scrubbing",)),
    Control(
        ASVS,
        "16.3.3",
        "Attempts to get past controls are logged",
        ("noticing", "auditing", "audit"),
    ),
    Control(ASVS, "16.4.2", "Logs are private and cannot be changed", ("modes", "audit")),
    Control(ASVS, "16.4.3", "Logs go to a separate system", ("forwarding",)),
    Control(CSF, "PR.AA-05", "Access is as narrow as it can be", ("modes", "user", "key")),
    Control(CSF, "PR.DS-01", "Data at rest is protected", ("encryption", "verdicts")),
    Control(CSF, "PR.DS-02", "Data in transit is protected", ("port",)),
    Control(CSF, "PR.DS-11", "Backups are made and tried", ("backup",)),
    Control(CSF, "PR.PS-04", "Log records are made for monitoring", ("auditing", "audit")),
    Control(ORAN, "REQ-SEC-SLM-ATS-1", "One authenticated source of time", ("time",)),
    Control(ORAN, "REQ-SEC-SLM-ATS-4", "Security log in the order of events", ("audit",)),
    Control(ORAN, "REQ-SEC-SLM-ATS-5", "Security log times carry their zone", ("zone",)),
)

_WORST_FIRST = (Result.FAIL, Result.MANUAL, Result.PASS, Result.NOT_APPLICABLE)


def judged(control: Control, found: dict[str, Evidence]) -> Result:
    """What the evidence makes of a control: the worst of what applies."""
    results = {found[name].result for name in control.evidence}
    return next(result for result in _WORST_FIRST if result in results)
