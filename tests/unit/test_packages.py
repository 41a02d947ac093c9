"""Packages as files: their bytes, and what kpt, kubectl and strict schemas make of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Constraints, Intent, IntentType, NephioContext, Target
from conductor_loop.core.packages import Mode, Package, render
from conductor_loop.core.packages.readme import code_span

SCALING = Intent(
    IntentType.SCALING,
    Target("oran-sim", "cnf-simulator"),
    3,
    reason="High load detected",
    source="planner",
    correlation_id="scale-2024-001",
)
DEPLOYMENT = Intent(
    IntentType.DEPLOYMENT,
    Target("core", "upf"),
    2,
    nephio_context=NephioContext("v2.0.0", "edge-1", "free5gc/upf-bp"),
)
ODD_TARGETS = [Target("on", "1e3"), Target("null", "true"), Target("0x10", "1.5"), Target("7", "7")]
PLAIN_STRING = {"type": "string"}


def strict(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required or [],
        "additionalProperties": False,
    }


def text_map() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": PLAIN_STRING}


METADATA = strict(
    {"name": PLAIN_STRING, "namespace": PLAIN_STRING, "annotations": text_map()}, ["name"]
)
FUNCTIONS = {
    "type": "array",
    "items": strict({"image": PLAIN_STRING, "configPath": PLAIN_STRING, "configMap": text_map()}),
}
STRINGS = {"type": "array", "items": PLAIN_STRING}
KPTFILE_SCHEMA = strict(
    {
        "apiVersion": {"const": "kpt.dev/v1"},
        "kind": {"const": "Kptfile"},
        "metadata": METADATA,
        "info": strict(
            {
                "site": PLAIN_STRING,
                "emails": STRINGS,
                "license": PLAIN_STRING,
                "licenseFile": PLAIN_STRING,
                "description": PLAIN_STRING,
                "keywords": STRINGS,
                "man": PLAIN_STRING,
            }
        ),
        "pipeline": strict({"mutators": FUNCTIONS, "validators": FUNCTIONS}),
    },
    ["apiVersion", "kind", "metadata"],
)
# The parts of Porch's CRD that we write; the server prunes what it does not know.
VARIANT_SCHEMA = strict(
    {
        "apiVersion": {"const": "config.porch.kpt.dev/v1alpha1"},
        "kind": {"const": "PackageVariant"},
        "metadata": METADATA,
        "spec": strict(
            {
                "upstream": strict(
                    {"repo": PLAIN_STRING, "package": PLAIN_STRING, "workspaceName": PLAIN_STRING},
                    ["repo", "package"],
                ),
                "downstream": strict(
                    {"repo": PLAIN_STRING, "package": PLAIN_STRING}, ["repo", "package"]
                ),
                "adoptionPolicy": {"enum": ["adoptNone", "adoptExisting"]},
                "deletionPolicy": {"enum": ["delete", "orphan"]},
                "packageContext": strict(
                    {
                        "data": {
                            "type": "object",
                            "propertyNames": {"not": {"enum": ["name", "package-path"]}},
                            "additionalProperties": PLAIN_STRING,
                        }
                    }
                ),
            },
            ["upstream", "downstream"],
        ),
    },
    ["apiVersion", "kind", "metadata", "spec"],
)


def package(intent: Intent, mode: Mode) -> Package:
    rendered = render(intent, mode)
    assert isinstance(rendered, Package)
    return rendered


def fault(intent: Intent, mode: Mode = Mode.DIRECT) -> Fault:
    rendered = render(intent, mode)
    assert isinstance(rendered, Fault)
    assert rendered.message
    assert rendered.hint
    return rendered


def scaled(target: Target, replicas: int = 3) -> Intent:
    return Intent(IntentType.SCALING, target, replicas)


def deployment(context: NephioContext, constraints: Constraints) -> Intent:
    target = Target("core", "upf")
    return Intent(IntentType.DEPLOYMENT, target, 1, constraints=constraints, nephio_context=context)


def test_direct_scaling_is_one_patch_to_the_byte() -> None:
    assert package(SCALING, Mode.DIRECT) == Package(
        ("oran-sim", "cnf-simulator"),
        {
            "scaling-patch.yaml": b"apiVersion: apps/v1\n"
            b"kind: Deployment\n"
            b"metadata:\n"
            b'  name: "cnf-simulator"\n'
            b'  namespace: "oran-sim"\n'
            b"spec:\n"
            b"  replicas: 3\n"
        },
    )


def test_structured_scaling_is_a_kpt_package_with_patch_and_component() -> None:
    files = package(SCALING, Mode.STRUCTURED).files
    assert set(files) == {"Kptfile", "README.md", "kustomization.yaml", "scaling-patch.yaml"}
    component = yaml.safe_load(files["kustomization.yaml"])
    assert component["kind"] == "Component"
    assert component["replicas"] == [{"name": "cnf-simulator", "count": 3}]
    patch = yaml.safe_load(files["scaling-patch.yaml"])
    assert patch["spec"] == {"replicas": 3}


def test_nothing_of_a_structured_scaling_package_is_applied_by_kpt() -> None:
    for name, content in package(SCALING, Mode.STRUCTURED).files.items():
        if name != "README.md":
            annotations = yaml.safe_load(content)["metadata"]["annotations"]
            assert annotations == {"config.kubernetes.io/local-config": "true"}


@pytest.mark.parametrize("replicas", [0, 1, 100])
@pytest.mark.parametrize("target", ODD_TARGETS, ids=str)
def test_names_that_look_like_numbers_stay_names(target: Target, replicas: int) -> None:
    for mode in Mode:
        files = package(scaled(target, replicas), mode).files
        patch = yaml.safe_load(files["scaling-patch.yaml"])
        assert patch["metadata"]["name"] == target.name
        assert patch["metadata"]["namespace"] == target.namespace
        assert patch["spec"]["replicas"] == replicas


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("intent", [SCALING, DEPLOYMENT], ids=["scaling", "deployment"])
def test_the_same_intent_gives_the_same_bytes_that_git_leaves_alone(
    intent: Intent, mode: Mode
) -> None:
    files = package(intent, mode).files
    assert files == package(intent, mode).files
    for content in files.values():
        assert content.endswith(b"\n")
        assert not content.endswith(b"\n\n")
        assert b"\r" not in content
        assert all(line == line.rstrip() for line in content.decode().splitlines())


@pytest.mark.parametrize("target", [SCALING.target, *ODD_TARGETS], ids=str)
def test_the_kptfile_passes_a_strict_schema(target: Target) -> None:
    document = yaml.safe_load(package(scaled(target), Mode.STRUCTURED).files["Kptfile"])
    jsonschema_rs.validate(KPTFILE_SCHEMA, document)
    assert document["metadata"]["name"] == target.name


def test_a_constraint_names_the_kptfile_but_not_the_folder() -> None:
    intent = Intent(
        IntentType.SCALING, SCALING.target, 3, constraints=Constraints(kpt_package_name="my-pkg")
    )
    made = package(intent, Mode.STRUCTURED)
    assert made.folder == ("oran-sim", "cnf-simulator")
    assert yaml.safe_load(made.files["Kptfile"])["metadata"]["name"] == "my-pkg"


def test_a_configuration_intent_is_refused_in_words() -> None:
    intent = Intent(IntentType.CONFIGURATION, SCALING.target, 3)
    assert fault(intent).code == "configuration_has_no_payload"


def test_a_deployment_becomes_a_package_variant_that_porch_takes() -> None:
    document = yaml.safe_load(package(DEPLOYMENT, Mode.DIRECT).files["package-variant.yaml"])
    jsonschema_rs.validate(VARIANT_SCHEMA, document)
    assert document["metadata"] == {"name": "core.upf"}
    assert document["spec"]["upstream"] == {
        "repo": "blueprints",
        "package": "free5gc/upf-bp",
        "workspaceName": "v2.0.0",
    }
    assert document["spec"]["downstream"] == {"repo": "edge-1", "package": "upf"}
    assert document["spec"]["packageContext"]["data"] == {"namespace": "core", "replicas": "2"}


def test_a_structured_deployment_adds_kptfile_and_readme() -> None:
    files = package(DEPLOYMENT, Mode.STRUCTURED).files
    assert set(files) == {"Kptfile", "README.md", "package-variant.yaml"}
    jsonschema_rs.validate(KPTFILE_SCHEMA, yaml.safe_load(files["Kptfile"]))


def test_constraints_choose_the_upstream_repository_and_the_downstream_package() -> None:
    intent = deployment(
        NephioContext("", "edge-1", "upf-bp"),
        Constraints(kpt_package_name="upf-small", porch_repository="catalog"),
    )
    spec = yaml.safe_load(package(intent, Mode.DIRECT).files["package-variant.yaml"])["spec"]
    assert spec["upstream"] == {"repo": "catalog", "package": "upf-bp", "workspaceName": "main"}
    assert spec["downstream"] == {"repo": "edge-1", "package": "upf-small"}


def test_two_targets_never_share_the_name_of_a_package_variant() -> None:
    names = set()
    context = NephioContext("", "edge-1", "bp")
    for target in [
        Target("a", "b-c"),
        Target("a-b", "c"),
        Target("n" * 63, "t" * 253),
        Target("n" * 63, "t" * 252 + "u"),
        Target("n" * 63, "t" * 170 + "." + "u" * 60),
    ]:
        intent = Intent(IntentType.DEPLOYMENT, target, 1, nephio_context=context)
        content = package(intent, Mode.DIRECT).files["package-variant.yaml"]
        name = yaml.safe_load(content)["metadata"]["name"]
        assert len(name) <= 253
        names.add(name)
    assert len(names) == 5


@pytest.mark.parametrize(
    ("context", "constraints", "code", "pointer"),
    [
        (NephioContext(), Constraints(), "no_blueprint", "/nephio_context/blueprint_name"),
        (
            NephioContext(blueprint_name="bp"),
            Constraints(),
            "no_workload_cluster",
            "/nephio_context/workload_cluster",
        ),
        (
            NephioContext("", "edge", "../bp"),
            Constraints(),
            "porch_name_invalid",
            "/nephio_context/blueprint_name",
        ),
        (
            NephioContext("", "Edge 1", "bp"),
            Constraints(),
            "porch_name_invalid",
            "/nephio_context/workload_cluster",
        ),
        (
            NephioContext("v1 ", "edge", "bp"),
            Constraints(),
            "porch_name_invalid",
            "/nephio_context/package_revision",
        ),
        (
            NephioContext("", "edge", "bp"),
            Constraints(porch_repository="a/b"),
            "porch_name_invalid",
            "/constraints/porch_repository",
        ),
    ],
)
def test_a_deployment_that_cannot_be_is_refused_with_a_pointer(
    context: NephioContext, constraints: Constraints, code: str, pointer: str
) -> None:
    refused = fault(deployment(context, constraints))
    assert (refused.code, refused.pointer) == (code, pointer)


@given(st.text(min_size=1, max_size=60).filter(lambda text: bool(text.strip())))
def test_free_text_in_a_readme_is_one_code_span_and_nothing_else(text: str) -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(f"- Reason: {code_span(text)}\n")
    inline = [token for token in tokens if token.type == "inline"]
    assert len(inline) == 1
    children = inline[0].children or []
    assert [child.type for child in children] == ["text", "code_inline"]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("plain", "`plain`"),
        ("a `b` c", "``a `b` c``"),
        ("``", "``` `` ```"),
        ("two\n\n# lines", "`two # lines`"),
        ("<script>|[x](y)", "`<script>|[x](y)`"),
        ("負載過高", "`負載過高`"),
        ("a\u202eb\u200bc\x1bd", "`a\ufffdb\ufffdc\ufffdd`"),
    ],
)
def test_a_code_span_shows_the_text_as_it_was(text: str, span: str) -> None:
    assert code_span(text) == span


@given(
    st.builds(
        Intent,
        st.sampled_from([IntentType.SCALING]),
        st.sampled_from(ODD_TARGETS),
        st.integers(0, 100),
        reason=st.text(max_size=80),
        description=st.text(max_size=80),
        correlation_id=st.text("abc-_.0", max_size=10),
    )
)
def test_free_text_reaches_the_readme_alone(intent: Intent) -> None:
    files = dict(package(intent, Mode.STRUCTURED).files)
    silent = dict(package(scaled(intent.target, intent.replicas), Mode.STRUCTURED).files)
    headings = [line for line in files["README.md"].decode().splitlines() if line[:1] == "#"]
    assert len(headings) == 2
    del files["README.md"], silent["README.md"]
    assert files == silent


kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
kpt = pytest.mark.skipif(shutil.which("kpt") is None, reason="kpt is not installed")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def workload(target: Target, folder: Path) -> Path:
    labels = {"matchLabels": {"app": "x"}}
    pod = {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "spec": {"replicas": 1, "selector": labels, "template": pod},
    }
    folder.mkdir(exist_ok=True)
    path = folder / "deployment.yaml"
    # As JSON: PyYAML writes the name 1e3 without quotes, and kubectl reads that as a number.
    path.write_text(json.dumps(document))
    return path


@kubectl
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("target", [SCALING.target, Target("on", "1e3")], ids=str)
def test_kubectl_takes_the_patch(tmp_path: Path, target: Target, mode: Mode) -> None:
    folder = write(dict(package(scaled(target, 7), mode).files), tmp_path / "package")
    file = workload(target, tmp_path / "base")
    patch = str(folder / "scaling-patch.yaml")
    patched = run(
        "kubectl", "patch", "--local", "-f", str(file), "--patch-file", patch, "-o", "yaml"
    )
    assert patched.returncode == 0, patched.stderr
    document = yaml.safe_load(patched.stdout)
    assert document["spec"]["replicas"] == 7
    assert document["metadata"]["name"] == target.name
    assert document["spec"]["template"]["spec"]["containers"] == [{"name": "c", "image": "i"}]


def kustomized(tmp_path: Path, package_of: Target, workload_of: Target) -> Any:
    write(dict(package(scaled(package_of, 7), Mode.STRUCTURED).files), tmp_path / "package")
    base = workload(workload_of, tmp_path / "base").parent
    (base / "kustomization.yaml").write_text(
        "resources: [deployment.yaml]\ncomponents: [../package]\n"
    )
    return run("kubectl", "kustomize", str(base))


@kubectl
@pytest.mark.parametrize("target", [SCALING.target, Target("on", "1e3")], ids=str)
def test_kustomize_scales_with_the_component(tmp_path: Path, target: Target) -> None:
    built = kustomized(tmp_path, target, target)
    assert built.returncode == 0, built.stderr
    documents = list(yaml.safe_load_all(built.stdout))
    assert [d["metadata"]["name"] for d in documents] == [target.name]
    assert documents[0]["spec"]["replicas"] == 7


@kubectl
def test_kustomize_refuses_a_component_without_its_workload(tmp_path: Path) -> None:
    built = kustomized(tmp_path, Target("n", "missing"), Target("n", "other"))
    assert built.returncode != 0
    assert "missing" in built.stderr


@kpt
@pytest.mark.parametrize(
    "intent", [SCALING, scaled(Target("on", "1e3")), DEPLOYMENT], ids=["scaling", "odd", "variant"]
)
def test_kpt_decodes_the_package_strictly_and_changes_nothing(
    tmp_path: Path, intent: Intent
) -> None:
    files = dict(package(intent, Mode.STRUCTURED).files)
    folder = write(files, tmp_path / "package")
    rendered = run("kpt", "fn", "render", str(folder))
    assert rendered.returncode == 0, rendered.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


@kpt
def test_kpt_would_have_refused_an_unknown_field(tmp_path: Path) -> None:
    files = dict(package(SCALING, Mode.STRUCTURED).files)
    files["Kptfile"] = files["Kptfile"].replace(b"keywords:", b"Keywords:")
    folder = write(files, tmp_path / "package")
    assert run("kpt", "fn", "render", str(folder)).returncode != 0
