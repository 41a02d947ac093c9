"""The pod of the manifests, laid out as its Deployment says: mounts, settings, probes."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from conductor_loop.core.distribution import key_of, ordinal_of
from tests.manifests import MANIFESTS, Document, one, rendered
from tests.system.daemon import intent, wait_until
from tests.system.test_image import IMAGE, Container

CONFIG = "/etc/conductor-loop"


@pytest.fixture
def documents() -> list[Document]:
    return rendered(MANIFESTS)


@pytest.fixture
def pod(tmp_path: Path, documents: list[Document]) -> Container:
    """The folders of the pod's volumes, where the pod mounts them."""
    return laid_out(tmp_path, documents, one(documents, "Deployment"))


def laid_out(top: Path, documents: list[Document], workload: Document) -> Container:
    """A pod of a workload; its volumes are in `volumes`, of which a test may make some itself."""
    top.mkdir(exist_ok=True)
    container = Container(top)
    (spec,) = workload["spec"]["template"]["spec"]["containers"]
    for mount in spec["volumeMounts"]:
        folder = top / "volumes" / mount["name"]
        folder.mkdir(parents=True, exist_ok=True)
        # As fsGroup leaves the root of a volume.
        folder.chmod(0o2775)
        container.mounts[mount["mountPath"]] = folder
    config = one(documents, "ConfigMap")["data"]["conductor.toml"]
    (container.mounts[CONFIG] / "conductor.toml").write_text(config)
    container.variables = {each["name"]: each["value"] for each in spec["env"] if "value" in each}
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


@pytest.mark.needs("bwrap")
def test_scaled_out_each_intent_gets_from_the_inbox_to_the_pod_of_its_target(
    tmp_path: Path,
) -> None:
    documents = rendered(MANIFESTS / "overlays/scale-out")
    stateful = one(documents, "StatefulSet")
    (spec,) = stateful["spec"]["template"]["spec"]["containers"]
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    daemons = [
        laid_out(tmp_path / f"pod-{ordinal}", documents, stateful)
        for ordinal in range(stateful["spec"]["replicas"])
    ]
    distributor = laid_out_distributor(tmp_path / "distributor", documents, shared)
    with contextlib.ExitStack() as running:
        for ordinal, daemon in enumerate(daemons):
            # subPathExpr, as the kubelet makes it: with the mode of the volume's root.
            own = shared / f"conductor-loop-{ordinal}"
            own.mkdir()
            own.chmod(0o2775)
            daemon.mounts["/data"], daemon.handoff = own, own / "handoff"
            flags = [*spec["args"], "-probe-port", "0", "-metrics-port", "0"]
            running.enter_context(daemon.started(*flags))
        running.enter_context(distributor)
        inbox = shared / "inbox"
        wait_until((inbox / ".conductor/distribution.json").exists, "the inbox is served")
        for target in ("amf", "smf", "cnf-simulator"):
            draft = shared / "draft"
            draft.write_bytes(intent(target))
            draft.rename(inbox / f"intent-{target}.json")
        for target in ("amf", "smf", "cnf-simulator"):
            ordinal = ordinal_of(key_of("oran-sim", target), len(daemons))
            assert daemons[ordinal].verdict(f"intent-{target}.json")["status"] == "success"


@contextlib.contextmanager
def laid_out_distributor(top: Path, documents: list[Document], shared: Path) -> Iterator[None]:
    """Run the distributor's pod on the shared volume."""
    top.mkdir()
    container = Container(top)
    (spec,) = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    container.mounts = {"/shared": shared}
    with (top / "log").open("wb") as log:
        words = container.words(*IMAGE.words("ENTRYPOINT"), *spec["args"])
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, (top / "log").read_text()
    finally:
        process.kill()
        process.wait()
