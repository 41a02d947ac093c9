"""The `Kptfile`, and the annotation that keeps a resource on this side of the cluster.

kpt refuses unknown fields (kptdev/kpt, pkg/api/kptfile/v1), so only known ones are written. There
is no pipeline: nothing is left for a function to do.
"""

from __future__ import annotations

from conductor_loop.core.intent import Intent
from conductor_loop.core.packages.yaml import Node, Word, emit

KPTFILE = "Kptfile"
LOCAL_ONLY: dict[str, Node] = {"config.kubernetes.io/local-config": "true"}
"""kpt and kustomize keep what carries this annotation, and never apply it to a cluster."""


def package_name(intent: Intent) -> str:
    """Name the package: as the intent constrains it, else after the target."""
    return intent.constraints.kpt_package_name or intent.target.name


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
