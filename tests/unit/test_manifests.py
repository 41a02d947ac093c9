"""The Kubernetes manifests: what is in them, what they promise, what a cluster would refuse."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conductor_loop.cli.commands import load
from conductor_loop.cli.main import command_parser
from conductor_loop.settings import Settings, load_settings
from tests.manifests import (
    MANIFESTS,
    RELEASES,
    TOP,
    Document,
    broken_restrictions,
    mistakes,
    of_kind,
    one,
    rendered,
    written,
)

KUSTOMIZATIONS = [
    MANIFESTS,
    *sorted(path.parent for path in (MANIFESTS / "overlays").glob("*/kustomization.yaml")),
]
# The original's README, "Kubernetes Security Context".
SEED_SECURITY_CONTEXT = yaml.safe_load("""
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: ["ALL"]
seccompProfile:
  type: RuntimeDefault
""")


@pytest.fixture(params=KUSTOMIZATIONS, ids=lambda folder: folder.name)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return copy.deepcopy(rendered(request.param))


@pytest.fixture
def base() -> list[Document]:
    return copy.deepcopy(rendered(MANIFESTS))


def workloads(documents: list[Document]) -> Iterator[Document]:
    yield from (*of_kind(documents, "Deployment"), *of_kind(documents, "StatefulSet"))


def pods(documents: list[Document]) -> Iterator[Document]:
    for workload in workloads(documents):
        yield workload["spec"]["template"]["spec"]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("path", "document"), written(), ids=lambda value: getattr(value, "stem", "")
)
def test_kubernetes_knows_every_field_as_it_is_written(
    path: Path, document: Document, release: str
) -> None:
    assert mistakes(document, release) == []


def test_without_kubectl_every_file_is_still_looked_at() -> None:
    assert len({path for path, _ in written()}) >= 10


@pytest.mark.parametrize("release", RELEASES)
def test_kubernetes_knows_every_field(documents: list[Document], release: str) -> None:
    assert {
        d["metadata"]["name"]: mistakes(d, release) for d in documents if mistakes(d, release)
    } == {}


def test_a_field_that_kubernetes_does_not_know_would_be_told(base: list[Document]) -> None:
    deployment = one(base, "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert any("readynessProbe" in mistake for mistake in mistakes(deployment, RELEASES[-1]))


def test_everything_that_the_original_lists_is_there(base: list[Document]) -> None:
    assert {document["kind"] for document in base} == {
        "Namespace",
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }


def test_a_plain_cluster_knows_every_kind_of_the_base(base: list[Document]) -> None:
    assert not [d for d in base if d["apiVersion"].startswith("monitoring.coreos.com")]


def test_pods_pass_pod_security_restricted(documents: list[Document]) -> None:
    for pod in pods(documents):
        assert broken_restrictions(pod) == []
    for namespace in of_kind(documents, "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_pod_security_would_tell_of_each_thing_that_is_loosened(base: list[Document]) -> None:
    (pod,) = pods(base)
    container = pod["containers"][0]
    container["securityContext"] = {"privileged": True, "capabilities": {"add": ["SYS_ADMIN"]}}
    pod["hostNetwork"] = True
    pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    assert broken_restrictions(pod) == [
        "hostNetwork",
        "volume host",
        "conductor-loop: privileged",
        "conductor-loop: allowPrivilegeEscalation",
        "conductor-loop: runAsNonRoot",
        "conductor-loop: capabilities.drop",
        "conductor-loop: capabilities.add",
    ]


def test_the_security_context_is_the_original_s_word_for_word(documents: list[Document]) -> None:
    for pod in pods(documents):
        for container in pod["containers"]:
            assert container["securityContext"] == SEED_SECURITY_CONTEXT


def test_a_new_pod_never_starts_beside_the_old_one(base: list[Document]) -> None:
    spec = one(base, "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"]["rollingUpdate"]["maxSurge"] == 0
    bounds = one(base, "HorizontalPodAutoscaler")["spec"]
    assert bounds["minReplicas"] == bounds["maxReplicas"] == 1
    claims = of_kind(base, "PersistentVolumeClaim")
    assert {tuple(claim["spec"]["accessModes"]) for claim in claims} == {("ReadWriteOnce",)}


def test_a_node_can_be_drained(base: list[Document]) -> None:
    budget = one(base, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] >= 1
    assert "minAvailable" not in budget


def test_the_end_of_a_pod_leaves_time_for_the_grace(documents: list[Document]) -> None:
    grace = settings_of(documents).grace.total_seconds()
    for pod in pods(documents):
        assert pod["terminationGracePeriodSeconds"] > grace + 5 + 5
        assert pod["enableServiceLinks"] is False


def test_nothing_of_the_api_server_is_within_reach(documents: list[Document]) -> None:
    assert of_kind(documents, "RoleBinding") == of_kind(documents, "ClusterRoleBinding") == []
    assert all(not a["automountServiceAccountToken"] for a in of_kind(documents, "ServiceAccount"))
    assert all(pod["automountServiceAccountToken"] is False for pod in pods(documents))


def test_traffic_is_closed_but_for_metrics_in_and_names_out(base: list[Document]) -> None:
    policy = one(base, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (ingress,) = policy["ingress"]
    assert [port["port"] for port in ingress["ports"]] == ["metrics"]
    (egress,) = policy["egress"]
    (name_server,) = egress["to"]
    # A label of ours added in there would close it: the name server has none.
    assert name_server["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
    assert {port["port"] for port in egress["ports"]} == {53}


def test_selectors_lead_to_the_pods(documents: list[Document]) -> None:
    labels = [w["spec"]["template"]["metadata"]["labels"] for w in workloads(documents)]
    selectors = [s["spec"]["selector"] for s in of_kind(documents, "Service")]
    selectors += [
        p["spec"]["podSelector"]["matchLabels"] for p in of_kind(documents, "NetworkPolicy")
    ]
    selectors += [
        b["spec"]["selector"]["matchLabels"] for b in of_kind(documents, "PodDisruptionBudget")
    ]
    for selector in selectors:
        assert sum(selector.items() <= each.items() for each in labels) == 1
    for workload, own in zip(workloads(documents), labels, strict=True):
        assert workload["spec"]["selector"]["matchLabels"].items() <= own.items()


def test_the_traffic_of_every_pod_is_closed(documents: list[Document]) -> None:
    closed = [
        policy["spec"]["podSelector"]["matchLabels"]
        for policy in of_kind(documents, "NetworkPolicy")
        if {*policy["spec"]["policyTypes"]} == {"Ingress", "Egress"}
    ]
    for workload in workloads(documents):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert any(selector.items() <= labels.items() for selector in closed)


def test_metrics_of_a_pod_that_is_not_ready_can_still_be_read(base: list[Document]) -> None:
    service = one(base, "Service")
    assert service["metadata"]["name"] == "conductor-loop"
    assert service["spec"]["publishNotReadyAddresses"] is True
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert ports == {"metrics": 9090, "probes": 8080}


def test_probes_ask_the_paths_of_the_original(base: list[Document]) -> None:
    (pod,) = pods(base)
    (container,) = pod["containers"]
    asked = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    assert asked == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }


def daemon_pod(documents: list[Document]) -> Document:
    """The pod in which a daemon runs."""
    (pod,) = (
        workload["spec"]["template"]["spec"]
        for workload in workloads(documents)
        if workload["metadata"]["name"] == "conductor-loop"
    )
    return dict(pod)


def settings_of(documents: list[Document]) -> Settings:
    """The settings that the daemon of a kustomization starts with."""
    (container,) = daemon_pod(documents)["containers"]
    understood = command_parser("run", load("run")).understand(container["args"])
    assert understood.mistakes == []
    return loaded(documents, understood.settings)


def loaded(documents: list[Document], flags: list[tuple[str, str]]) -> Settings:
    """The settings of what is started in the container of the daemon with these flags."""
    (container,) = daemon_pod(documents)["containers"]
    config = one(documents, "ConfigMap")["data"]["conductor.toml"]
    environment = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert environment["CONDUCTOR_CONFIG"] == "/etc/conductor-loop/conductor.toml"
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config)
        file.flush()
        settings = load_settings(flags, {**environment, "CONDUCTOR_CONFIG": file.name})
    assert settings.warnings == ()
    return settings


def test_a_command_typed_in_the_pod_without_a_flag_finds_the_daemon(
    documents: list[Document],
) -> None:
    typed, started = loaded(documents, []), settings_of(documents)
    assert (typed.state_dir, typed.handoff) == (started.state_dir, started.handoff)
    assert typed.handoff == Path("/data/handoff")


def test_the_daemon_takes_the_settings_and_every_folder_is_mounted(
    documents: list[Document],
) -> None:
    settings = settings_of(documents)
    (container,) = daemon_pod(documents)["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    for folder in (settings.handoff, settings.out, settings.state_dir):
        assert any(folder.is_relative_to(mount) for mount in mounted)


def test_every_mount_has_its_volume(documents: list[Document]) -> None:
    for workload in workloads(documents):
        pod = workload["spec"]["template"]["spec"]
        named = {volume["name"] for volume in pod["volumes"]}
        named |= {c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", ())}
        mounts = [mount for c in pod["containers"] for mount in c["volumeMounts"]]
        assert {mount["name"] for mount in mounts} == named
    claims = {claim["metadata"]["name"] for claim in of_kind(documents, "PersistentVolumeClaim")}
    assert claims == {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods(documents)
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }


def test_new_settings_are_a_new_rollout(base: list[Document]) -> None:
    (pod,) = pods(base)
    (volume,) = [v for v in pod["volumes"] if "configMap" in v]
    assert re.fullmatch(r"conductor-loop-[a-z0-9]{10}", volume["configMap"]["name"])


def test_the_command_of_the_original_s_quick_deploy_renders_the_base() -> None:
    assert (
        "kubectl apply -k deployments/k8s/conductor-loop/"
        in (TOP / "docs/kubernetes.md").read_text()
    )
    assert rendered(MANIFESTS) == rendered(MANIFESTS / "base")


def test_production_is_watched() -> None:
    documents = rendered(MANIFESTS / "overlays/production")
    assert one(documents, "ServiceMonitor")["spec"]["endpoints"][0]["port"] == "metrics"
    assert one(documents, "PrometheusRule")["spec"]["groups"]


def overlay_of_the_page(folder: Path) -> list[Document]:
    """Production, with everything that docs/kubernetes.md has for an overlay."""
    page = (TOP / "docs/kubernetes.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    overlay = yaml.safe_load("".join(blocks))
    # Resources are named from within their root.
    shutil.copytree(MANIFESTS, folder / "deployments/k8s/conductor-loop")
    mine = folder / "mine/overlay"
    mine.mkdir(parents=True)
    (mine / "kustomization.yaml").write_text(
        yaml.safe_dump(overlay).replace("sha256:...", f"sha256:{'0' * 64}")
    )
    return rendered(mine)


def test_the_overlay_of_the_page_shows_the_page_on_loopback(tmp_path: Path) -> None:
    documents = overlay_of_the_page(tmp_path)
    http = settings_of(documents).http
    assert http is not None
    assert http.is_loopback


def test_the_overlay_of_the_page_says_where_the_runbooks_are(tmp_path: Path) -> None:
    documents = overlay_of_the_page(tmp_path)
    (group,) = one(documents, "PrometheusRule")["spec"]["groups"]
    address = "https://git.example.org/team/conductor-loop/blob/main/docs/runbooks/"
    assert all(r["annotations"]["runbook_url"].startswith(address) for r in group["rules"])
    assert len(of_kind(documents, "ConfigMap")) == 1


@pytest.fixture
def scaled_out() -> list[Document]:
    return copy.deepcopy(rendered(MANIFESTS / "overlays/scale-out"))


def test_the_distributor_knows_the_handoff_of_each_pod_and_of_no_other(
    scaled_out: list[Document],
) -> None:
    stateful = one(scaled_out, "StatefulSet")
    (distributor,) = one(scaled_out, "Deployment")["spec"]["template"]["spec"]["containers"]
    command, *flags = distributor["args"]
    understood = command_parser(command, load(command)).understand(flags)
    assert (command, understood.mistakes) == ("distribute", [])
    assert understood.args is not None
    assert understood.args.count == stateful["spec"]["replicas"]
    handoffs = [understood.args.to.replace("{}", str(n)) for n in range(understood.args.count)]
    (shared,) = (m["mountPath"] for m in distributor["volumeMounts"] if m["name"] == "shared")
    (own,) = (
        m
        for c in daemon_pod(scaled_out)["containers"]
        for m in c["volumeMounts"]
        if m["name"] == "handoff"
    )
    assert own["subPathExpr"] == "$(POD_NAME)"
    inside = settings_of(scaled_out).handoff.relative_to(own["mountPath"])
    names = [f"{stateful['metadata']['name']}-{n}" for n in range(stateful["spec"]["replicas"])]
    assert handoffs == [f"{shared}/{name}/{inside}" for name in names]
    assert dict(understood.settings)["handoff"].startswith(f"{shared}/")


def test_each_daemon_has_state_and_packages_of_its_own(scaled_out: list[Document]) -> None:
    templates = one(scaled_out, "StatefulSet")["spec"]["volumeClaimTemplates"]
    modes = {each["metadata"]["name"]: each["spec"]["accessModes"] for each in templates}
    assert modes == {"state": ["ReadWriteOnce"], "out": ["ReadWriteOnce"]}
    shared = one(scaled_out, "PersistentVolumeClaim")
    assert shared["spec"]["accessModes"] == ["ReadWriteMany"]
    assert of_kind(scaled_out, "HorizontalPodAutoscaler") == []


def test_both_programs_come_from_one_image(scaled_out: list[Document]) -> None:
    assert len({c["image"] for pod in pods(scaled_out) for c in pod["containers"]}) == 1


def test_a_stateful_set_has_a_headless_service(scaled_out: list[Document]) -> None:
    service = one(scaled_out, "Service")
    assert service["spec"]["clusterIP"] == "None"
    assert one(scaled_out, "StatefulSet")["spec"]["serviceName"] == service["metadata"]["name"]


def test_there_is_one_distributor_at_a_time(scaled_out: list[Document]) -> None:
    spec = one(scaled_out, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
