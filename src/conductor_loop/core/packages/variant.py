"""Packages of `deployment` intents: a PackageVariant, with which Porch clones a blueprint.

Fields as in the CRD of Porch 1.5 (controllers/packagevariants). The object takes the namespace it
is applied in: Porch looks for repositories there, and the intent's namespace is the workload's.
"""

from __future__ import annotations

import hashlib
import re

from conductor_loop.core.contract import is_subdomain
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent, Target
from conductor_loop.core.packages.kptfile import KPTFILE, kptfile, package_name
from conductor_loop.core.packages.package import Mode
from conductor_loop.core.packages.readme import README, code_span, readme
from conductor_loop.core.packages.yaml import Word, emit

VARIANT = "package-variant.yaml"
DEFAULT_REPOSITORY = "blueprints"
"""Where the blueprint is looked for when the intent names no `constraints.porch_repository`."""
# Porch knows a branch by a workspace of its name (kptdev/porch, pull request 226).
_DEFAULT_WORKSPACE = "main"

_PACKAGE_PATH = re.compile(r"[a-zA-Z0-9][\w.-]*(/[a-zA-Z0-9][\w.-]*)*", re.ASCII)
_WORKSPACE = re.compile(r"[a-zA-Z0-9]([\w.-]{0,61}[a-zA-Z0-9])?", re.ASCII)
_LONGEST_NAME = 253

_NO_BLUEPRINT = Fault(
    code="no_blueprint",
    message="a deployment intent names no blueprint, so there is nothing to deploy",
    hint="set nephio_context.blueprint_name to the package to deploy",
    pointer="/nephio_context/blueprint_name",
)
_NO_CLUSTER = Fault(
    code="no_workload_cluster",
    message="a deployment intent names no workload cluster to deploy to",
    hint="set nephio_context.workload_cluster to the repository of the cluster",
    pointer="/nephio_context/workload_cluster",
)


def variant_files(intent: Intent, mode: Mode) -> dict[str, bytes] | Fault:
    """Write the files that make Porch deploy a blueprint."""
    fault = _fault(intent)
    if fault is not None:
        return fault
    variant = {VARIANT: _variant(intent)}
    if mode is Mode.DIRECT:
        return variant
    summary = f"Deploys {intent.target} as a variant of a blueprint"
    return {
        KPTFILE: kptfile(package_name(intent), summary, "deployment"),
        README: _readme(intent),
        **variant,
    }


def _fault(intent: Intent) -> Fault | None:
    context = intent.nephio_context
    if not context.blueprint_name:
        return _NO_BLUEPRINT
    if not context.workload_cluster:
        return _NO_CLUSTER
    if not _PACKAGE_PATH.fullmatch(context.blueprint_name):
        return _unnameable("/nephio_context/blueprint_name", "a package in a repository")
    if not is_subdomain(context.workload_cluster):
        return _unnameable("/nephio_context/workload_cluster", "a Porch repository")
    if context.package_revision and not _WORKSPACE.fullmatch(context.package_revision):
        return _unnameable("/nephio_context/package_revision", "a revision of a package")
    if not is_subdomain(_repository(intent)):
        return _unnameable("/constraints/porch_repository", "a Porch repository")
    return None


def _unnameable(pointer: str, what: str) -> Fault:
    return Fault(
        code="porch_name_invalid",
        message=f"{pointer} cannot be the name of {what}",
        hint="take the name as `kubectl get repositories,packagerevisions` shows it",
        pointer=pointer,
    )


def _repository(intent: Intent) -> str:
    return intent.constraints.porch_repository or DEFAULT_REPOSITORY


def _variant(intent: Intent) -> bytes:
    context = intent.nephio_context
    return emit(
        {
            "apiVersion": Word("config.porch.kpt.dev/v1alpha1"),
            "kind": Word("PackageVariant"),
            "metadata": {"name": _object_name(intent.target)},
            "spec": {
                "upstream": {
                    "repo": _repository(intent),
                    "package": context.blueprint_name,
                    "workspaceName": context.package_revision or _DEFAULT_WORKSPACE,
                },
                "downstream": {"repo": context.workload_cluster, "package": package_name(intent)},
                # Neither takes over a package that was there nor takes one down with this object.
                "adoptionPolicy": Word("adoptNone"),
                "deletionPolicy": Word("orphan"),
                "packageContext": {
                    "data": {
                        "namespace": intent.target.namespace,
                        "replicas": str(intent.replicas),
                    }
                },
            },
        }
    )


def _object_name(target: Target) -> str:
    """Name the object after the whole target: one name in two namespaces is two variants."""
    name = f"{target.namespace}.{target.name}"
    if len(name) <= _LONGEST_NAME:
        return name
    mark = "-" + hashlib.sha256(name.encode()).hexdigest()[:16]
    return name[: _LONGEST_NAME - len(mark)].rstrip(".-") + mark


def _readme(intent: Intent) -> bytes:
    context = intent.nephio_context
    effect = (
        f"Has Porch clone package {code_span(context.blueprint_name)} "
        f"of repository {code_span(_repository(intent))} "
        f"into repository {code_span(context.workload_cluster)}, as a draft that waits for "
        "approval. Namespace and replicas go into its package context."
    )
    usage = f"""\
## Use it

On the management cluster, in the namespace in which the repositories are registered:

    kubectl apply -f {VARIANT}"""
    return readme(f"Deployment of {code_span(str(intent.target))}", intent, [effect, usage])
