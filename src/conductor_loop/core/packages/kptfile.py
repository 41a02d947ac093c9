"""The `Kptfile`, and the annotation that keeps a resource on this side of the cluster.

kpt refuses unknown fields (kptdev/kpt, pkg/api/kptfile/v1), so only known ones are written. There
is no pipeline: nothing is left for a function to do.
"""

from __future__ import annotations

import re

from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent
from conductor_loop.core.packages.yaml import Node, Word, emit

KPTFILE = "Kptfile"
LOCAL_ONLY: dict[str, Node] = {"config.kubernetes.io/local-config": "true"}
"""kpt and kustomize keep what carries this annotation, and never apply it to a cluster."""

# RFC 1123 subdomain, as Kubernetes checks metadata.name.
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_SUBDOMAIN = 253


def is_subdomain(text: str) -> bool:
    """Tell whether Kubernetes would take this for the name of an object."""
    return len(text) <= _LONGEST_SUBDOMAIN and _SUBDOMAIN.fullmatch(text) is not None


def package_name(intent: Intent) -> str | Fault:
    """Name the package: as the intent constrains it, else after the target."""
    name = intent.constraints.kpt_package_name or intent.target.name
    if is_subdomain(name):
        return name
    return Fault(
        code="package_name_invalid",
        message="the package name is not a name that Kubernetes takes",
        hint="use lower-case letters, digits, - and ., at most 253, or leave it out",
        pointer="/constraints/kpt_package_name",
    )


def kptfile(name: str, description: str, keyword: str) -> bytes:
    """Write the Kptfile of a package."""
    return emit(
        {
            "apiVersion": Word("kpt.dev/v1"),
            "kind": Word("Kptfile"),
            "metadata": {"name": name, "annotations": LOCAL_ONLY},
            "info": {"description": description, "keywords": [Word(keyword)]},
        }
    )
