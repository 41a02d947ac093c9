"""The Kubernetes manifests as `kubectl apply -k` sends them, and the schemas they must meet."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

TOP = Path(__file__).parents[1]
MANIFESTS = TOP / "deployments/k8s/conductor-loop"
RELEASES = ("v1.29", "v1.34")
# Custom resources, whose definitions are the Prometheus Operator's.
_OPERATOR = "monitoring.coreos.com/v1"
Document = dict[str, Any]


def rendered(folder: Path) -> list[Document]:
    """Every object of a kustomization. Skips where kubectl is missing or too old for it."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return _rendered(folder)


@cache
def _rendered(folder: Path) -> list[Document]:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    if "unknown field" in done.stderr:
        pytest.skip("this kubectl's kustomize is too old")
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def written() -> list[tuple[Path, Document]]:
    """Every object as it stands in its file, before any overlay; kubectl is not needed."""
    files = (path for path in sorted(MANIFESTS.rglob("*.yaml")) if path.stem != "kustomization")
    return [(path, one) for path in files for one in yaml.safe_load_all(path.read_text())]


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    """The objects of one kind."""
    return [document for document in documents if document["kind"] == kind]


def one(documents: list[Document], kind: str) -> Document:
    """The only object of a kind."""
    (document,) = of_kind(documents, kind)
    return document


def mistakes(document: Document, release: str) -> list[str]:
    """What a release of Kubernetes would refuse in an object."""
    if document["apiVersion"] == _OPERATOR:
        return []
    schemas = _schemas(release)
    kind = schemas["kinds"].get(f"{document['apiVersion']}/{document['kind']}")
    if kind is None:
        return [f"{document['apiVersion']} {document['kind']} is not known"]
    return [
        f"{e.instance_path}: {e.message}" for e in _validator(release, kind).iter_errors(document)
    ]


@cache
def _schemas(release: str) -> dict[str, Any]:
    path = TOP / f"tests/fixtures/kubernetes/{release}.json"
    return dict(json.loads(path.read_text()))


@cache
def _validator(release: str, kind: str) -> jsonschema_rs.Draft202012Validator:
    definitions = _schemas(release)["$defs"]
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": definitions})


def broken_restrictions(pod: Document) -> list[str]:
    """What Pod Security "restricted" refuses in a pod's spec.

    Kubernetes documentation, "Pod Security Standards", table "Restricted" and the "Baseline" below
    it; fields that these manifests do not use at all are refused as a whole.
    """
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    if pod.get("os"):
        found.append("os")
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret",
               "persistentVolumeClaim"}  # fmt: skip
    found += [
        f"volume {v['name']}" for v in pod.get("volumes", ()) if not set(v) - {"name"} <= allowed
    ]
    of_pod = pod.get("securityContext", {})
    found += ["sysctls"] if of_pod.get("sysctls") else []
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        found += [f"{container['name']}: {fault}" for fault in _of_container(container, of_pod)]
    return found


def _of_container(container: Document, of_pod: Document) -> list[str]:
    own = {**of_pod, **container.get("securityContext", {})}
    capabilities = own.get("capabilities", {})
    checks = {
        "hostPort": not any(port.get("hostPort") for port in container.get("ports", ())),
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "runAsNonRoot": own.get("runAsNonRoot") is True,
        "runAsUser": own.get("runAsUser") != 0,
        "seccompProfile": own.get("seccompProfile", {}).get("type")
        in ("RuntimeDefault", "Localhost"),
        "capabilities.drop": "ALL" in capabilities.get("drop", ()),
        "capabilities.add": set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
        "procMount": own.get("procMount", "Default") == "Default",
        "seLinuxOptions": "seLinuxOptions" not in own,
        "appArmorProfile": own.get("appArmorProfile", {}).get("type") != "Unconfined",
    }
    return [name for name, holds in checks.items() if not holds]
