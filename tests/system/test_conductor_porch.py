"""`conductor-porch` and `conductor-loop render`, as somebody would type them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INTENT = {"intent_type": "scaling", "target": "upf", "namespace": "oran-sim", "replicas": 3}
PORCH = [sys.executable, "-c", "import sys, conductor_loop.cli.porch as p; sys.exit(p.main())"]
RENDER = [sys.executable, "-m", "conductor_loop", "render"]
Done = subprocess.CompletedProcess[str]


def porch(*arguments: object, cwd: Path | None = None) -> Done:
    return run([*PORCH, *map(str, arguments)], cwd)


def render(*arguments: object, cwd: Path | None = None) -> Done:
    return run([*RENDER, *map(str, arguments)], cwd)


def run(command: list[str], cwd: Path | None) -> Done:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("CONDUCTOR_")}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def written(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.fixture
def intent(tmp_path: Path) -> Path:
    return make(tmp_path, **INTENT)


def make(folder: Path, **fields: object) -> Path:
    path = folder / "intent-a.json"
    path.write_text(json.dumps(fields))
    return path


@pytest.mark.parametrize(
    "flags",
    [
        ["-intent", "F", "-out", "D"],
        ["--intent", "F", "--out", "D"],
        ["-intent=F", "--out=D"],
        ["-out", "D", "-intent", "F", "-structured=false"],
        ["--structured=F", "-out", "D", "-intent", "F"],
    ],
)
def test_direct_writes_the_patch_alone(intent: Path, tmp_path: Path, flags: list[str]) -> None:
    spelled = [f.replace("=F", "=intent-a.json") if "intent" in f else f for f in flags]
    done = porch(*["intent-a.json" if f == "F" else f for f in spelled], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "wrote D/oran-sim/upf (scaling-patch.yaml)\n"
    assert set(written(tmp_path / "D")) == {"oran-sim/upf/scaling-patch.yaml"}


@pytest.mark.parametrize("flag", ["-structured", "--structured", "-structured=true"])
def test_structured_writes_a_kpt_package(intent: Path, tmp_path: Path, flag: str) -> None:
    done = porch("-intent", intent, flag, "-out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {Path(name).name for name in written(tmp_path / "out")} == {
        "Kptfile",
        "README.md",
        "kustomization.yaml",
        "scaling-patch.yaml",
    }


def test_the_same_intent_again_changes_nothing(intent: Path, tmp_path: Path) -> None:
    porch("-intent", intent, "-out", tmp_path / "out")
    done = porch("-intent", intent, "-out", tmp_path / "out")
    assert done.returncode == 0
    assert done.stdout.startswith("unchanged: ")


def test_a_hand_edit_is_warned_of_and_replaced(intent: Path, tmp_path: Path) -> None:
    porch("-intent", intent, "-out", tmp_path / "out")
    patch = tmp_path / "out" / "oran-sim" / "upf" / "scaling-patch.yaml"
    patch.write_text("mine\n")
    done = porch("-intent", intent, "-out", tmp_path / "out")
    assert done.returncode == 0
    assert "WARNING: replacing a folder edited by hand: files scaling-patch.yaml" in done.stderr
    kept = tmp_path / ".out.staging" / "edited" / "oran-sim" / "upf" / "scaling-patch.yaml"
    assert kept.read_text() == "mine\n"
    assert patch.read_text() != "mine\n"


def test_every_fault_of_an_intent_is_told(tmp_path: Path) -> None:
    path = make(tmp_path, **{**INTENT, "replicas": -1, "namespace": "A B", "color": "red"})
    done = porch("-intent", path, "-out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.count("ERROR:") == 3
    assert "/replicas" in done.stderr
    assert "/namespace" in done.stderr
    assert "color" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"intent_type": "configuration"}, 1, "configuration_has_no_payload"),
        ({"intent_type": "deployment"}, 2, "no_blueprint"),
        (
            {"intent_type": "deployment", "nephio_context": {"blueprint_name": "bp"}},
            2,
            "no_workload_cluster",
        ),
    ],
)
def test_what_has_no_package_is_refused(
    tmp_path: Path, fields: dict[str, object], status: int, told: str
) -> None:
    path = make(tmp_path, **{**INTENT, **fields})
    done = porch("-intent", path, "-out", tmp_path / "out")
    assert done.returncode == status
    assert f"[{told}]" in done.stderr
    assert "hint: " in done.stderr


def test_a_system_namespace_is_the_daemons_business(tmp_path: Path) -> None:
    path = make(tmp_path, **{**INTENT, "namespace": "kube-system"})
    assert porch("-intent", path, "-out", tmp_path / "out").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 64),
        (["-intent", "x"], 64),
        (["-intent", "x", "-out", "y", "-structured=perhaps"], 64),
        (["-intent", "x", "-out", "y", "--mode", "direct"], 64),
        (["-intent", "/nowhere/intent-a.json", "-out", "y"], 66),
        (["--help"], 0),
        (["-version"], 0),
        (["-help"], 0),
        (["-intent", "x", "-out", ""], 64),
        (["-intent=", "-out", "y"], 64),
    ],
)
def test_the_command_line_has_its_own_exit_status(
    tmp_path: Path, arguments: list[str], status: int
) -> None:
    done = porch(*arguments, cwd=tmp_path)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (status != 0)


def test_a_switch_that_is_neither_is_told_in_the_words_of_the_daemon(tmp_path: Path) -> None:
    done = porch("-intent", "x", "-out", "y", "-structured=foo", cwd=tmp_path)
    assert "'foo' is neither true nor false" in done.stderr
    assert "_switch" not in done.stderr


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("output", ["full", "gone", "closed"])
def test_a_package_that_nobody_can_be_told_of_is_written_all_the_same(
    intent: Path, tmp_path: Path, output: str, buffered: bool
) -> None:
    command = [*PORCH, "-intent", str(intent), "-out", "out"]
    if output == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    reading, writing = os.pipe()
    os.close(reading)
    with open("/dev/full", "wb") as full, open(writing, "wb") as gone:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"PYTHONUNBUFFERED": "" if buffered else "1"},
            stdout=full if output == "full" else gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0
    assert (tmp_path / "out/oran-sim/upf/scaling-patch.yaml").is_file()
    why = {"full": "No space left on device", "gone": "Broken pipe"}.get(output)
    assert done.stderr == (f"WARNING: standard output takes nothing: {why}\n" if why else "")


def test_what_stands_in_the_way_is_not_the_intents_fault(intent: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "oran-sim").symlink_to(tmp_path)
    done = porch("-intent", intent, "-out", tmp_path / "out")
    assert done.returncode == 73
    assert "is not a folder" in done.stderr


def test_an_out_that_is_a_file_is_told_with_a_hint(intent: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    done = porch("-intent", intent, "-out", tmp_path / "out")
    assert done.returncode == 75
    assert "hint: " in done.stderr


def test_render_prints_what_would_be_written(intent: Path, tmp_path: Path) -> None:
    done = render(intent)
    porch("-intent", intent, "-out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == written(tmp_path / "out")["oran-sim/upf/scaling-patch.yaml"]


def test_render_names_the_files_when_there_are_several(intent: Path) -> None:
    done = render(intent, "-mode", "structured")
    heads = [line for line in done.stdout.splitlines() if line.startswith("==>")]
    assert heads == [
        "==> oran-sim/upf/Kptfile <==",
        "==> oran-sim/upf/README.md <==",
        "==> oran-sim/upf/kustomization.yaml <==",
        "==> oran-sim/upf/scaling-patch.yaml <==",
    ]


def test_render_diff_is_empty_once_the_package_is_there(intent: Path, tmp_path: Path) -> None:
    assert render(intent, "--diff", "-out", tmp_path / "out").returncode == 1
    porch("-intent", intent, "-out", tmp_path / "out")
    done = render(intent, "--diff", "-out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, "")


def test_render_diff_tells_of_what_is_no_file_and_would_be_removed(
    intent: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    porch("-intent", intent, "-out", out)
    folder = out / "oran-sim" / "upf"
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "ff")

    done = render(intent, "--diff", "-out", out)

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"Only in {out}: oran-sim/upf/ff (FIFO)",
        f"Only in {out}: oran-sim/upf/link (symlink)",
        f"Only in {out}: oran-sim/upf/sub (folder)",
    ]
    document = json.loads(render(intent, "--diff", "--json", "-out", out).stdout)
    assert document["differing"] == ["ff", "link", "sub"]
    assert document["not_files"][1] == {"name": "link", "kind": "symlink"}
    assert "files ff, link, sub" in porch("-intent", intent, "-out", out).stderr


@pytest.mark.parametrize("is_link", [True, False])
def test_render_diff_names_what_stands_in_the_place_of_a_package(
    intent: Path, tmp_path: Path, is_link: bool
) -> None:
    place = tmp_path / "out/oran-sim/upf"
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path) if is_link else place.touch()
    done = render(intent, "--diff", "-out", tmp_path / "out")
    assert done.returncode == 2
    assert f"{place} is no folder: a file or a symlink stands in its way" in done.stderr
    assert "hint: move it away" in done.stderr


def test_render_diff_tells_of_a_symlink_in_place_of_a_file_of_the_package(
    intent: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    porch("-intent", intent, "-out", out)
    patch = out / "oran-sim" / "upf" / "scaling-patch.yaml"
    patch.rename(out / "elsewhere")
    patch.symlink_to(out / "elsewhere")
    lines = render(intent, "--diff", "-out", out).stdout.splitlines()
    assert lines[:2] == [
        f"Only in {out}: oran-sim/upf/scaling-patch.yaml (symlink)",
        "--- /dev/null",
    ]


@pytest.mark.needs("patch")
def test_render_diff_is_a_patch_that_makes_the_package(intent: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    porch("-intent", intent, "-out", out)
    (out / "oran-sim" / "upf" / "extra").write_text("no newline")
    (out / "oran-sim" / "upf" / "scaling-patch.yaml").write_text("mine\n")
    done = render(intent, "--diff", "-mode", "structured", "-out", out)
    assert done.returncode == 1
    patched = subprocess.run(
        ["patch", "-p1"], cwd=out, input=done.stdout, text=True, capture_output=True, timeout=60
    )
    assert patched.returncode == 0, patched.stdout
    (out / "oran-sim" / "upf" / "extra").unlink(missing_ok=True)
    assert render(intent, "--diff", "-mode", "structured", "-out", out).returncode == 0


def test_render_diff_cannot_be_made_to_move_the_cursor(intent: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "oran-sim" / "upf"
    folder.mkdir(parents=True)
    (folder / "scaling-patch.yaml").write_bytes(b"\x1b[2J\xff\n")
    (folder / os.fsdecode(b"\x1b[2J\xff")).write_text("x")
    done = render(intent, "--diff", "-out", tmp_path / "out")
    assert "\x1b" not in done.stdout
    assert r"-\x1b[2J\xff" in done.stdout


def test_render_prints_json_for_programs(intent: Path, tmp_path: Path) -> None:
    porch("-intent", intent, "-out", tmp_path / "out")
    document = json.loads(render(intent, "--json", "--diff", "-out", tmp_path / "out").stdout)
    (file,) = document["files"]
    assert (document["namespace"], document["target"]) == ("oran-sim", "upf")
    assert (file["name"], document["differing"]) == ("scaling-patch.yaml", [])
    assert "replicas: 3" in file["content"]


def test_render_tells_the_faults_of_an_intent(tmp_path: Path) -> None:
    path = make(tmp_path, **{**INTENT, "replicas": 3.5})
    done = render(path)
    assert done.returncode == 8
    assert "/replicas" in done.stdout
    told = render(path, "-json")
    assert told.returncode == 8
    document = json.loads(told.stdout)
    assert document["file"] == str(path)
    assert [fault["pointer"] for fault in document["faults"]] == ["/replicas"]
    assert render(make(tmp_path, **{**INTENT, "intent_type": "deployment"})).returncode == 8
    assert render(tmp_path / "missing.json").returncode == 2
