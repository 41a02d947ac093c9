"""Packages of `scaling` intents: a patch, and for kpt and GitOps a kustomize Component."""

from __future__ import annotations

from conductor_loop.core.intent import Intent
from conductor_loop.core.packages.kptfile import KPTFILE, LOCAL_ONLY, kptfile, package_name
from conductor_loop.core.packages.package import Mode
from conductor_loop.core.packages.readme import README, code_span, readme
from conductor_loop.core.packages.yaml import Node, Word, emit, quoted

PATCH = "scaling-patch.yaml"
COMPONENT = "kustomization.yaml"


def scaling_files(intent: Intent, mode: Mode) -> dict[str, bytes]:
    """Write the files that bring a Deployment to its replicas."""
    if mode is Mode.DIRECT:
        return {PATCH: _bare_patch(intent)}
    return {
        KPTFILE: kptfile(package_name(intent), _summary(intent), "scaling"),
        README: _readme(intent),
        COMPONENT: _component(intent),
        PATCH: _local_patch(intent),
    }


def _bare_patch(intent: Intent) -> bytes:
    # Spelled out rather than emitted: at 2,500 packages a second the emitter would show.
    return (
        "apiVersion: apps/v1\n"
        "kind: Deployment\n"
        "metadata:\n"
        f"  name: {quoted(intent.target.name)}\n"
        f"  namespace: {quoted(intent.target.namespace)}\n"
        "spec:\n"
        f"  replicas: {intent.replicas}\n"
    ).encode("ascii")


def _local_patch(intent: Intent) -> bytes:
    # Not marked local-only, a partial Deployment in a pruned repository would be applied, refused
    # where the workload is missing, and could take the workload along when it is deleted.
    metadata: dict[str, Node] = {
        "name": intent.target.name,
        "namespace": intent.target.namespace,
        "annotations": LOCAL_ONLY,
    }
    return emit(
        {
            "apiVersion": Word("apps/v1"),
            "kind": Word("Deployment"),
            "metadata": metadata,
            "spec": {"replicas": intent.replicas},
        }
    )


def _component(intent: Intent) -> bytes:
    return emit(
        {
            "apiVersion": Word("kustomize.config.k8s.io/v1alpha1"),
            "kind": Word("Component"),
            "metadata": {"name": intent.target.name, "annotations": LOCAL_ONLY},
            "replicas": [{"name": intent.target.name, "count": intent.replicas}],
        }
    )


def _summary(intent: Intent) -> str:
    return f"Sets replicas of Deployment {intent.target} to {intent.replicas}"


def _readme(intent: Intent) -> bytes:
    namespace, name = intent.target
    usage = f"""\
## Use it

As a kustomize Component, named in the kustomization that holds the Deployment (Argo CD and Flux
build it the same way). The build fails if there is no workload of that name:

    components:
      - {namespace}/{name}

Or at once, on a running cluster:

    kubectl patch deployment {name} -n {namespace} --patch-file {PATCH}

The patch is no workload of its own and is marked local-config, so that kpt does not apply it;
patched by hand, the Deployment gets that annotation too, which has no effect there."""
    effect = (
        f"Sets replicas of Deployment {code_span(name)} in namespace {code_span(namespace)} "
        f"to {intent.replicas}."
    )
    return readme(f"Scaling of {code_span(str(intent.target))}", intent, [effect, usage])
