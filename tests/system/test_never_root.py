"""Started as root, the daemon and what it runs are somebody else, and no way leads back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conductor_loop.adapters.sandbox import landlock
from tests.system.daemon import Site, intent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can stop being root")
LANDLOCK = pytest.mark.skipif(not landlock.abi(), reason="this kernel offers no Landlock")
NOBODY = 65532
OWNER = 54321
# What a process of the daemon can still do, asked inside it before its loop starts.
ASK = """
import json, os, sys
from conductor_loop import wiring
from conductor_loop.wiring import ground
from conductor_loop.settings import load_settings

def ask(verb, *words):
    try:
        verb(*words)
    except OSError as error:
        return type(error).__name__
    return "done"

real = ground.publisher
def publisher(settings, layout, clock, **more):
    with open(os.path.join(layout.path, "answers.json"), "w") as file:
        json.dump({
            "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
            "setuid": ask(os.setuid, 0),
            "shadow": ask(open, "/etc/shadow"),
            "home": ask(os.listdir, "/root"),
            "elsewhere": ask(open, "/etc/conductor-forged", "w"),
        }, file)
    return real(settings, layout, clock, **more)

ground.publisher = publisher
wiring.run(load_settings([("once", "true"), ("porch", "builtin"), ("debounce", "10ms")], {}))
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder of root's that only root may enter, as pytest makes it."""
    return Site(tmp_path)


@LANDLOCK
def test_the_daemon_of_root_is_nobody_and_cannot_be_root_again(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    subprocess.run([sys.executable, "-c", ASK], cwd=site.top, check=True, stderr=subprocess.PIPE)

    answers = json.loads((site.handoff / "answers.json").read_text())
    assert answers == {
        "uids": [NOBODY] * 3,
        "gids": [NOBODY] * 3,
        "groups": [],
        "setuid": "PermissionError",
        "shadow": "PermissionError",
        "home": "PermissionError",
        "elsewhere": "PermissionError",
    }
    assert site.verdict("intent-a.json")["status"] == "success"


@LANDLOCK
def test_the_child_of_a_daemon_of_root_is_nobody_and_cannot_be_root_again(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    script = (
        "id -u > $top/uid; cat /etc/shadow > $top/shadow; "
        f"'{sys.executable}' -I -S -c 'import os; os.setuid(0)' 2> $top/setuid; exit 0"
    )
    site.environment["CONDUCTOR_CHILD_READ"] = sys.base_prefix
    assert site.once("-porch", site.porch(script)).returncode == 0

    assert (site.top / "uid").read_text() == f"{NOBODY}\n"
    assert (site.top / "shadow").read_text() == ""
    assert "PermissionError" in (site.top / "setuid").read_text()


def test_the_owner_of_the_handoff_folder_is_who_the_daemon_becomes(open_site: Site) -> None:
    open_site.handoff.mkdir()
    os.chown(open_site.handoff, OWNER, OWNER)
    os.chown(open_site.top, OWNER, OWNER)
    open_site.hand_over("intent-a.json", intent())
    assert open_site.once().returncode == 0

    assert open_site.state.stat().st_uid == OWNER
    assert (open_site.out / "oran-sim" / "amf").stat().st_uid == OWNER


def test_run_as_decides_whatever_the_folder_says(open_site: Site) -> None:
    open_site.handoff.mkdir()
    os.chown(open_site.top, OWNER, OWNER)
    os.chown(open_site.handoff, OWNER, OWNER)
    assert open_site.once("-run-as", f"{OWNER + 1}:{OWNER + 2}").returncode == 0

    facts = open_site.state.stat()
    assert (facts.st_uid, facts.st_gid) == (OWNER + 1, OWNER + 2)


def test_a_folder_that_is_not_there_yet_is_to_be_made_before_it_is_given_away(
    open_site: Site,
) -> None:
    open_site.handoff.mkdir()
    os.chown(open_site.handoff, OWNER, OWNER)
    open_site.top.chmod(0o755)
    out = open_site.top / "out"
    out.rmdir()

    complaint = open_site.once("-sandbox", "none", "-porch", open_site.porch("exit 0")).stderr

    assert f"make it first: mkdir -p out && chown {OWNER}:{OWNER} out" in complaint
    assert f"or give -run-as the owner of {open_site.top}" in complaint


@pytest.mark.parametrize("name", ["root", "0", "nobody-of-that-name"])
def test_root_and_unknown_users_are_refused(site: Site, name: str) -> None:
    done = site.once("-run-as", name)

    assert done.returncode == 1
    assert "-run-as" in done.stderr
    assert not site.state.exists()


def test_a_state_that_an_earlier_root_made_is_gone_on_with(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once().returncode == 0
    for path in (site.state, *site.state.rglob("*")):
        os.chown(path, 0, 0)
    site.hand_over("intent-b.json", intent("upf"))

    assert site.once().returncode == 0
    assert site.verdict("intent-b.json")["status"] == "success"
    assert {path.stat().st_uid for path in site.state.rglob("*")} == {NOBODY}


def test_without_a_sandbox_a_porch_out_of_reach_is_refused_with_a_remedy(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    done = site.once("-porch", site.porch("exit 0"), "-sandbox", "none")

    assert done.returncode == 1
    assert f"uid {NOBODY} cannot work in" in done.stderr
    assert "-run-as" in done.stderr
    assert site.names_in(".") == ["intent-a.json"]
