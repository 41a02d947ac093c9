"""What porch may touch: the real daemon, and a porch that tries everything."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from conductor_loop.adapters.sandbox import landlock
from conductor_loop.core.control import (
    Cancel,
    Health,
    Look,
    Pause,
    Reload,
    Resume,
    Retry,
    RotateKey,
    encode,
)
from conductor_loop.core.events import Event, Noticed, Paused, Resumed, Skipped
from tests.system.daemon import Site, Verdict, intent, wait_until

pytestmark = pytest.mark.skipif(not landlock.abi(), reason="this kernel offers no Landlock")
EACH_REQUEST = [
    encode(request).decode().strip()
    for request in (
        Pause(),
        Resume(),
        Cancel(),
        Retry(("01ARZ3NDEKTSV4RRFFQ69G5FAV",)),
        Health(),
        Look(),
        RotateKey(),
        Reload(),
    )
]
PORCHES = Path(__file__).parent / "porches"
SCOPED = pytest.mark.skipif(landlock.abi() < 6, reason="Landlock 6 brought scopes")
TCP = pytest.mark.skipif(landlock.abi() < 4, reason="Landlock 4 brought TCP")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with nothing opened besides what is open to everyone."""
    site = Site(tmp_path)
    site.environment["CONDUCTOR_CHILD_WRITE"] = ""
    return site


@pytest.fixture
def open_site(open_site: Site) -> Site:
    """The same where everybody can reach it, with one intent: root's daemon is nobody."""
    open_site.environment["CONDUCTOR_CHILD_WRITE"] = ""
    open_site.hand_over_all({"intent-a.json": intent()})
    open_site.handoff.chmod(0o777)
    return open_site


def hostile(site: Site, attempts: tuple[tuple[str, str], ...]) -> str:
    """A porch that tries all this."""
    folder = site.top / "bin"
    folder.mkdir()
    porch = folder / "porch"
    program = folder / "try.py"
    program.write_bytes((PORCHES / "try_everything.py").read_bytes())
    (folder / "attempts.json").write_text(json.dumps(attempts))
    porch.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{program}" "$@"\n')
    porch.chmod(0o755)
    return str(porch)


def tried(site: Site, *attempts: tuple[str, str], flags: tuple[str, ...] = ()) -> dict[str, str]:
    """Let a porch try; what came of each attempt: `done`, or the name of an error."""
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", hostile(site, attempts), *flags)
    verdict: Verdict = site.verdict("intent-a.json")
    assert verdict["status"] == "success", verdict
    return dict(json.loads((site.out / "tried.json").read_text()))


def test_the_verdict_names_the_layer_that_the_attempt_ran_under(site: Site) -> None:
    tried(site)

    assert site.verdict("intent-a.json")["sandbox"] == f"landlock-{landlock.abi()}"


def test_a_verdict_of_the_built_in_names_the_layer_of_the_daemon_that_renders(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", "builtin")

    assert site.verdict("intent-a.json")["sandbox"] == f"landlock-{landlock.abi()}"


def test_without_a_sandbox_the_verdict_says_so(open_site: Site) -> None:
    open_site.once("-porch", open_site.porch("exit 0"), "-sandbox", "none")

    assert open_site.verdict("intent-a.json")["sandbox"] == "none"
    audited = open_site.command("audit", "show", "--action", "security.switched_off").stdout
    assert "sandbox" in audited


def test_the_security_switch_turns_the_sandbox_off(open_site: Site) -> None:
    open_site.environment["CONDUCTOR_SECURITY_ENABLED"] = "false"
    open_site.once("-porch", open_site.porch("exit 0"))

    assert open_site.verdict("intent-a.json")["sandbox"] == "none"


def test_row_34_a_child_cannot_touch_handoff_or_state(site: Site) -> None:
    site.handoff.mkdir()
    foreign = site.handoff / "note.txt"
    foreign.write_text("mine")
    attempts = (
        ("read", str(foreign)),
        ("write", str(foreign)),
        ("remove", str(foreign)),
        ("list", str(site.handoff)),
        ("create", str(site.handoff / "intent-forged.json")),
        ("create", str(site.handoff / "processed" / "forged.json")),
        ("create", str(site.handoff / "status" / "intent-a.json.status")),
        ("list", str(site.state)),
        ("read", str(site.state / "journal.db")),
        ("write", str(site.state / "journal.db")),
        ("remove", str(site.state / "journal.db")),
    )

    results = tried(site, *attempts)

    assert len(results) == len(attempts)
    assert set(results.values()) == {"PermissionError"}
    assert foreign.read_text() == "mine"


def test_row_34_the_same_is_possible_without_a_sandbox(open_site: Site) -> None:
    note = open_site.handoff / "note.txt"
    note.write_text("mine")
    note.chmod(0o666)
    open_site.once("-porch", open_site.porch(f"echo forged > {note}"), "-sandbox", "none")

    assert note.read_text() == "forged\n"


@SCOPED
def test_row_34_a_child_cannot_signal_the_daemon(site: Site) -> None:
    results = tried(site, ("signal", "daemon"))

    assert set(results.values()) == {"PermissionError"}


@SCOPED
def test_row_34_a_child_cannot_reach_abstract_sockets_of_others(site: Site) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0conductor-test-{os.getpid()}")
        listener.listen()
        results = tried(site, ("abstract", f"conductor-test-{os.getpid()}"))

    assert set(results.values()) == {"PermissionError"}


@pytest.mark.parametrize("first", ["", "0" * 64], ids=["no token", "a guessed one"])
def test_row_34_a_child_cannot_steer_the_daemon_by_its_socket(site: Site, first: str) -> None:
    socket = site.state / "control.sock"
    attempts = [("ask", f"{socket}|{first}|{request}") for request in EACH_REQUEST]
    attempts += [("ask", f"{socket}|{request}|") for request in EACH_REQUEST]
    site.once()
    key = (site.state / "keys" / "signing.pem").read_bytes()

    results = tried(site, *attempts)

    assert set(results.values()) == {"done"}  # each got an answer
    answers = [json.loads(line) for line in (site.out / "answers").read_text().splitlines()]
    assert len(answers) == 2 * len(EACH_REQUEST)
    assert {fault["code"] for answer in answers for fault in answer["refusals"]} == {"not_allowed"}
    assert (site.state / "keys" / "signing.pem").read_bytes() == key
    assert not {type(event) for event in events(site)} & {Paused, Resumed, Skipped}


def events(site: Site) -> list[Event]:
    """Everything in the journal, oldest first."""
    with site.journal() as reader:
        return [entry.event for entry in reader.after(0, 1_000)]


def test_row_34_a_child_that_tries_to_steer_the_daemon_is_told_of_within_bounds(site: Site) -> None:
    request = f"{site.state}/control.sock||{EACH_REQUEST[0]}"
    tried(site, *(("ask", request + " " * times) for times in range(50)))

    noticed = [event for event in events(site) if isinstance(event, Noticed)]
    refusals = [event for event in noticed if event.code == "control_refused"]
    shown = site.asked("audit", "show", "--action", "security.control_refused")
    assert len(shown) == len(refusals) == 20
    assert {event.severity for event in refusals} == {"high"}
    assert {record["details"]["why"] for record in shown} == {"without the token"}


def test_row_34_a_child_cannot_read_the_token_that_commands_show(site: Site) -> None:
    results = tried(site, ("read", str(site.state / "control.token")))

    assert set(results.values()) == {"PermissionError"}


OPENED = {".": "755", "keys": "755", "keys/signing.pem": "644", "keys/journal.kek": "644",
          "journal.db": "666", "control.token": "644", "claimed": "777"}  # fmt: skip


def test_row_34_modes_that_a_child_changes_are_put_back_and_told_of(site: Site) -> None:
    site.once()
    attempts = [("chmod", f"{site.state / name}|{mode}") for name, mode in OPENED.items()]
    porch = hostile(site, tuple(attempts))
    with site.daemon("-porch", porch):
        token = (site.state / "control.token").read_text()
        site.hand_over("intent-a.json", intent())
        site.verdict("intent-a.json")
        wait_until(lambda: all_private(site), "they are put back")
        wait_until(lambda: len(mode_notices(site)) == len(OPENED), "each is told of")

        assert set(json.loads((site.out / "tried.json").read_text()).values()) == {"done"}
        assert (site.state / "control.token").read_text() != token
        assert site.is_healthy()

    assert set(map(Path, mode_notices(site))) == {site.state / name for name in OPENED}


def mode_notices(site: Site) -> list[str]:
    """Of what the modes were put back."""
    noticed = [event for event in events(site) if isinstance(event, Noticed)]
    assert {e.severity for e in noticed if e.code == "state_mode_changed"} <= {"critical"}
    return [event.subject for event in noticed if event.code == "state_mode_changed"]


def all_private(site: Site) -> bool:
    """Whether nobody else may do anything with what is the daemon's alone."""
    paths = [site.state / name for name in OPENED]
    return not any(path.stat().st_mode & 0o077 for path in paths if path.exists())


def test_row_34_a_child_that_lays_the_keys_open_does_not_keep_the_next_start_from_starting(
    site: Site,
) -> None:
    site.once()
    tried(site, *(("chmod", f"{site.state / name}|{mode}") for name, mode in OPENED.items()))

    assert all_private(site)
    site.hand_over("intent-b.json", intent("upf"))
    assert site.once().returncode == 0
    shown = site.asked("audit", "show", "--action", "security.state_mode_changed")
    assert {record["resource"] for record in shown} >= {str(site.state / "keys/signing.pem")}


def test_row_34_a_child_that_locks_the_daemon_out_of_its_state_is_undone(site: Site) -> None:
    site.once()
    tried(site, ("chmod", f"{site.state / 'keys'}|000"), ("chmod", f"{site.state}|000"))

    assert stat.S_IMODE(site.state.stat().st_mode) == 0o700
    assert site.command("keys", "show").returncode == 0


def test_a_child_may_write_to_out_and_to_its_temporary_folder(site: Site) -> None:
    results = tried(
        site,
        ("create", str(site.out / "made.txt")),
        ("create", "$TMPDIR/made.txt"),
        ("create", "made-in-the-working-folder.txt"),
        ("rename", f"{site.out}/made.txt|{site.out}/renamed.txt"),
    )

    assert set(results.values()) == {"done"}


def test_what_a_child_leaves_in_its_temporary_folder_is_gone_afterwards(site: Site) -> None:
    tried(site, ("create", "left.txt"), ("report-folder", "x"))

    folder = (site.out / "folder").read_text()
    assert not Path(folder).exists()


def test_a_child_cannot_read_or_write_elsewhere(site: Site, tmp_path: Path) -> None:
    (site.top / "elsewhere").mkdir()
    (site.top / "elsewhere" / "secret").write_text("x")

    results = tried(
        site,
        ("read", str(site.top / "elsewhere" / "secret")),
        ("create", str(site.top / "elsewhere" / "new")),
        ("read", "/etc/shadow"),
    )

    assert set(results.values()) == {"PermissionError"}


def test_the_operator_can_open_paths_to_the_child(site: Site) -> None:
    for name in ("readable", "writable"):
        (site.top / name).mkdir()
        (site.top / name / "file").write_text("x")
    site.environment["CONDUCTOR_CHILD_READ"] = str(site.top / "readable")
    site.environment["CONDUCTOR_CHILD_WRITE"] = str(site.top / "writable")

    results = tried(
        site,
        ("read", str(site.top / "readable" / "file")),
        ("write", str(site.top / "readable" / "file")),
        ("write", str(site.top / "writable" / "file")),
    )

    assert list(results.values()) == ["done", "PermissionError", "done"]


def test_opening_the_handoff_folder_to_the_child_is_said_at_start(site: Site) -> None:
    site.environment["CONDUCTOR_CHILD_WRITE"] = str(site.top)
    site.hand_over_all({"intent-a.json": intent()})

    done = site.once("-porch", site.porch("exit 0"))

    assert f"porch may reach {site.handoff}, because {site.top} is open to it" in done.stderr


@TCP
def test_without_network_a_child_gets_no_tcp_and_the_verdict_says_so(site: Site) -> None:
    results = tried(site, ("connect", "127.0.0.1:9"), flags=("-sandbox-net", "none"))

    assert set(results.values()) == {"PermissionError"}
    assert site.verdict("intent-a.json")["sandbox"] == f"landlock-{landlock.abi()}+no-tcp"


def test_network_of_the_host_is_open_by_default(site: Site) -> None:
    assert set(tried(site, ("connect", "127.0.0.1:9")).values()) == {"ConnectionRefusedError"}


def test_a_child_gains_no_rights_from_set_uid_programs(site: Site) -> None:
    tried(site)

    assert "NoNewPrivs:\t1" in (site.out / "status").read_text()


def test_no_network_without_a_sandbox_is_refused(site: Site) -> None:
    done = site.once("-sandbox", "none", "-sandbox-net", "none")

    assert done.returncode == 2
    assert "-sandbox-net none needs a sandbox" in done.stderr


def test_row_35_a_child_gets_nothing_that_was_not_listed(site: Site) -> None:
    hostile_names = ("LD_PRELOAD", "PYTHONPATH", "HTTPS_PROXY", "KUBECONFIG", "AWS_SECRET_KEY")
    site.environment |= {
        name: "/nowhere" for name in hostile_names if name not in ("LD_PRELOAD", "PYTHONPATH")
    }
    # Harmless to the daemon itself: nothing is there.
    site.environment |= {"PYTHONPATH": "/nowhere", "LD_PRELOAD": ""}
    site.environment |= {"LISTED": "yes", "CONDUCTOR_CHILD_ENV": "LISTED"}
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", site.porch('env > "$out/environment"; ls /proc/self/fd > "$out/open"'))

    names = {line.partition("=")[0] for line in (site.out / "environment").read_text().splitlines()}
    assert "LISTED" in names
    assert not names & set(hostile_names)
    assert len((site.out / "open").read_text().split()) == 4  # three, and that of the listing
