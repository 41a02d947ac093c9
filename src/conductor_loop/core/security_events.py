"""What a guard would want to know: one table of codes, each with how much it matters and why.

A code never changes once released; whoever reports one names it, never its severity.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

RESTORED = "journal_restored"
"""The code of a journal that was put back from a backup, or made anew from verdicts."""
LOST_TO = "newest_record_named"
"""Its detail: the newest record of the audit log that a verdict names which was believed."""
ASIDE = "row_set_aside"
"""The code of an intent, or an entry, that cannot be trusted."""
DISCARDED = "row_discarded"
"""The code of such an intent of which an operator had everything dropped."""
CLAIM, ENDED = "claim", "ended"
"""Its detail: with it the claim ended, and the same file may begin anew. Without it, as older
versions told it, the audit log kept the intent open."""
ALTERED = "journal_altered"
"""The code of a small table of the journal that is not as it was left; it is the subject."""
TOLD_TO = "told_to"
"""The detail of `switched_off`: the newest entry of the journal that the audit log must tell when
it is taken up again."""
AUDIT = "audit"
"""The subject of `switched_off` when it is the audit log."""


class Severity(StrEnum):
    """How much it matters, from a note to a reason to get up at night."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


KINDS: dict[str, tuple[Severity, str]] = {
    "daemon_started": (Severity.INFO, "the daemon started"),
    "daemon_stopped": (Severity.INFO, "the daemon ended in order"),
    "state_imported": (Severity.LOW, "what the original had processed was taken over"),
    "settings_reloaded": (Severity.LOW, "settings changed while the daemon ran"),
    "switched_off": (Severity.MEDIUM, "a protection was switched off by the settings"),
    "foreign_verdict": (
        Severity.HIGH,
        "something that is no verdict of ours stood where a verdict belongs; it was moved aside",
    ),
    "key_made": (Severity.INFO, "the first signing key was made"),
    "key_given": (Severity.MEDIUM, "another key of -key-file signs from now on"),
    "key_lost": (
        Severity.HIGH,
        "the signing key was missing; a new one was made, for which no earlier one vouches",
    ),
    "control_refused": (
        Severity.HIGH,
        "a process that may not steer the daemon tried to, as porch does not know its token",
    ),
    "state_mode_changed": (
        Severity.CRITICAL,
        "the mode of a folder or file of the state was changed, and was put back; if others could "
        "read a key meanwhile, rotate it",
    ),
    RESTORED: (Severity.HIGH, "an operator put the journal back, or had it made anew"),
    "key_rotated": (
        Severity.MEDIUM,
        "a new key signs: `keys rotate`, or -key-file has another one",
    ),
    "http_ended": (Severity.MEDIUM, "the process that serves HTTP ended and was started again"),
    "symlink_seen": (Severity.HIGH, "a symlink was handed over as an intent; it was not followed"),
    "special_file_seen": (
        Severity.HIGH,
        "a FIFO, socket or device was handed over as an intent; it was not opened",
    ),
    "folder_replaced": (
        Severity.HIGH,
        "another folder, a symlink or nothing has the name of the handoff folder or of one in it",
    ),
    "hard_link_seen": (Severity.HIGH, "a file with more than one name was handed over"),
    "traversal_seen": (Severity.HIGH, "an intent names a path where a plain name belongs"),
    "hidden_text_seen": (Severity.HIGH, "an intent has characters that mislead its reader"),
    "duplicate_key_seen": (
        Severity.MEDIUM,
        "an intent has a field twice, so that two programs may read it in two ways",
    ),
    "replayed_bytes": (Severity.LOW, "bytes that had been handed over before came again"),
    "porch_other": (Severity.MEDIUM, "another porch than at the last start is run"),
    "porch_replaceable": (
        Severity.MEDIUM,
        "a user who is neither root nor the daemon's may put another program in porch's place",
    ),
    "porch_replaced": (
        Severity.HIGH,
        "porch was replaced under the running daemon; nothing runs until it is back or accepted",
    ),
    "porch_accepted": (
        Severity.MEDIUM,
        "an operator accepted the porch that was put in the place of another while the daemon ran",
    ),
    ASIDE: (
        Severity.CRITICAL,
        "a row of the journal is not what was written; its intent was set aside, and is not run",
    ),
    DISCARDED: (
        Severity.HIGH,
        "an operator dropped an intent that was set aside; what is claimed of it is taken anew",
    ),
    ALTERED: (
        Severity.CRITICAL,
        "rows of the journal beside its intents were changed, removed or put in",
    ),
    "audit_missing": (
        Severity.CRITICAL,
        "the audit log does not tell what it told before, and nothing says why: it was removed, or"
        " its end was cut",
    ),
    "audit_altered": (
        Severity.CRITICAL,
        "a finished file of the audit log is not what was signed",
    ),
    "hardening_lost": (Severity.HIGH, "porch runs less confined than it did before"),
    "clock_stepped": (Severity.MEDIUM, "the clock stepped, or the machine was asleep"),
    "arrivals_unusual": (Severity.MEDIUM, "far more intents arrive than usual"),
    "rejections_unusual": (Severity.MEDIUM, "far more intents are refused than usual"),
    "failures_unusual": (Severity.MEDIUM, "far more intents fail than usual"),
    "submitter_unusual": (Severity.MEDIUM, "a user hands over far more than usual"),
    "verdict_missing": (Severity.HIGH, "a verdict is gone that nobody tidied away"),
    "verdict_altered": (Severity.CRITICAL, "a verdict is not what was signed"),
    "verdict_differs": (Severity.CRITICAL, "a signed verdict says other than the journal"),
    "file_missing": (Severity.MEDIUM, "a filed intent is gone that nobody tidied away"),
    "file_altered": (Severity.HIGH, "a filed intent has other bytes than its verdict tells"),
    "package_missing": (Severity.MEDIUM, "a file of a package is gone"),
    "package_altered": (Severity.MEDIUM, "a file of a package is not what was rendered"),
    "memory_pressure": (Severity.MEDIUM, "nearly all memory that this may use is in use"),
    "intake_held": (
        Severity.HIGH,
        "the daemon uses more memory than -max-memory; files wait in the folder until it falls",
    ),
    "intake_released": (Severity.INFO, "the daemon's memory fell; files are taken again"),
    "descriptor_pressure": (Severity.MEDIUM, "nearly all files that this may open are open"),
    "disk_pressure": (Severity.MEDIUM, "a disk is nearly full"),
    "inode_pressure": (Severity.MEDIUM, "a file system has hardly any inodes left"),
    "queue_pressure": (Severity.LOW, "the queue is nearly full; more waits in the folder"),
    "pressure_over": (Severity.INFO, "what was nearly used up is not any more"),
    "notices_lost": (Severity.HIGH, "more was noticed at once than could be kept"),
}
"""Every code: its severity, and a sentence for an operator."""


def severity_of(code: str) -> Severity:
    """Look up how much a code matters. Raises KeyError for one that is not in the table."""
    return KINDS[code][0]


def meaning_of(code: str) -> str:
    """Say what a code means; codes of other versions mean themselves."""
    return KINDS[code][1] if code in KINDS else code


def describe_alerts(by_code: Mapping[str, int]) -> str:
    """`2 high: symlink_seen; 1 low: replayed_bytes`, the gravest first; notes are left out."""
    told = []
    for severity in reversed(Severity):
        codes = sorted(code for code in by_code if code in KINDS and severity_of(code) is severity)
        if codes and severity is not Severity.INFO:
            told.append(f"{sum(by_code[code] for code in codes)} {severity}: {', '.join(codes)}")
    return "; ".join(told)
