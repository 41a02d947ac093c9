"""The pod of the manifests, laid out as its Deployment says: mounts, settings, probes."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from tests.manifests import MANIFESTS, Document, one, rendered
from tests.system.daemon import intent, wait_until
from tests.system.test_image import Container

CONFIG = "/etc/conductor-loop"


@pytest.fixture
def documents() -> list[Document]:
    return rendered(MANIFESTS)


@pytest.fixture
def pod(tmp_path: Path, documents: list[Document]) -> Container:
    """The folders of the pod's volumes, where the pod mounts them."""
    container = Container(tmp_path)
    (spec,) = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    for mount in spec["volumeMounts"]:
        folder = tmp_path / "volumes" / mount["name"]
        folder.mkdir(parents=True)
        # As fsGroup leaves the root of a volume.
        folder.chmod(0o2775)
        container.mounts[mount["mountPath"]] = folder
    config = one(documents, "ConfigMap")["data"]["conductor.toml"]
    (container.mounts[CONFIG] / "conductor.toml").write_text(config)
    container.variables = {variable["name"]: variable["value"] for variable in spec["env"]}
    container.health = ["conductor-loop", "health", "-config", f"{CONFIG}/conductor.toml"]
    container.handoff = container.mounts["/data"] / "handoff"
    return container


def ports(container: Container) -> dict[str, int]:
    """Which ports the log names."""
    found = re.findall(
        r'"(probes|metrics) on https?://[^"]*:(\d+)"', container.log_file.read_text()
    )
    return {role: int(port) for role, port in found}


def is_fine(port: int, path: str) -> bool:
    address = f"http://127.0.0.1:{port}{path}"
    with (
        contextlib.suppress(urllib.error.HTTPError),
        urllib.request.urlopen(address, timeout=20) as answer,
    ):
        return int(answer.status) == 200
    return False


@pytest.mark.needs("bwrap")
def test_the_pod_becomes_ready_and_processes_an_intent(
    pod: Container, documents: list[Document]
) -> None:
    (spec,) = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    # The same, but on ports that are free on this machine.
    flags = [*spec["args"], "-probe-port", "0", "-metrics-port", "0"]
    with pod.started(*flags):
        wait_until(lambda: set(ports(pod)) == {"probes", "metrics"}, "both ports are named")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            address = spec[probe]["httpGet"]["path"]
            wait_until(partial(is_fine, ports(pod)["probes"], address), f"{address} is fine")
        assert is_fine(ports(pod)["metrics"], "/metrics")
        (pod.handoff / "intent-a.json").write_bytes(intent())
        assert pod.verdict("intent-a.json")["status"] == "success"
    assert (pod.mounts["/out"] / "oran-sim/amf").is_dir()
    journal = pod.mounts["/state"] / "conductor/journal.db"
    assert journal.exists()
    assert all(json.loads(line) for line in pod.log_file.read_text().splitlines())
