"""From an intent to the files of its package, as bytes. Nothing here touches a disk."""

from __future__ import annotations

from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent, IntentType
from conductor_loop.core.packages.package import BUILTIN as BUILTIN
from conductor_loop.core.packages.package import Mode as Mode
from conductor_loop.core.packages.package import Package as Package
from conductor_loop.core.packages.scaling import scaling_files
from conductor_loop.core.packages.variant import variant_files

_NO_PAYLOAD = Fault(
    code="configuration_has_no_payload",
    message="a configuration intent says nothing that could be configured",
    hint="the contract carries only replicas: hand over a scaling intent, or configure with a "
    "porch command of your own",
    pointer="/intent_type",
)


def render(intent: Intent, mode: Mode) -> Package | Fault:
    """Write the package of an intent, or say why there is none.

    Without clock, chance or library versions: the same intent and mode give the same bytes.
    """
    files = _files(intent, mode)
    return files if isinstance(files, Fault) else Package(intent.target, files)


def _files(intent: Intent, mode: Mode) -> dict[str, bytes] | Fault:
    if intent.intent_type is IntentType.SCALING:
        return scaling_files(intent, mode)
    if intent.intent_type is IntentType.DEPLOYMENT:
        return variant_files(intent, mode)
    return _NO_PAYLOAD
