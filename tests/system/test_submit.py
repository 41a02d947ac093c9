"""`submit`: checks, hands over whole and never over another file, follows to the verdict."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.core.identity import is_ulid
from conductor_loop.core.states import State
from tests.system.daemon import Site

COMMAND = [sys.executable, "-m", "conductor_loop"]
FIELDS = {"intent_type": "scaling", "target": "t", "namespace": "n", "replicas": 3}
NO_DAEMON = "WARNING: no daemon watches this folder; what was handed over waits for its start"


def intent(**changes: object) -> bytes:
    return json.dumps({**FIELDS, **changes}).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("CONDUCTOR_")}


def submit(
    place: Path, *words: str, stdin: bytes = b"", umask: int = 0o022
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [*COMMAND, "submit", *words],
        cwd=place,
        input=stdin,
        capture_output=True,
        env=environment(),
        umask=umask,
        timeout=100,
    )
    assert b"Traceback" not in done.stderr
    return done


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a handoff folder in it, and an intent to hand over."""
    (tmp_path / "handoff").mkdir()
    (tmp_path / "intent-a.json").write_bytes(intent())
    return tmp_path


@pytest.fixture
def daemon(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that writes packages itself; it ends in order."""
    words = ["-porch", "builtin", "-period", "100ms", "-log-file", "log"]
    child = subprocess.Popen([*COMMAND, *words], cwd=place, env=environment())
    yield child
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0


def test_without_a_daemon_the_file_waits_in_the_folder(place: Path) -> None:
    done = submit(place, "intent-a.json")
    assert done.returncode == 0
    assert done.stdout.decode() == f"intent-a.json  sha256:{sha256(intent())}\n"
    assert done.stderr.decode().splitlines() == [NO_DAEMON]
    assert os.listdir(place / "handoff") == ["intent-a.json"]
    assert (place / "handoff/intent-a.json").read_bytes() == intent()


def test_a_daemon_of_another_user_may_read_it_whatever_the_umask_is(place: Path) -> None:
    assert submit(place, "intent-a.json", umask=0o077).returncode == 0
    facts = (place / "handoff/intent-a.json").stat()
    assert stat.S_IMODE(facts.st_mode) == 0o644
    assert facts.st_nlink == 1


def test_a_name_that_is_taken_is_never_replaced(place: Path) -> None:
    (place / "handoff/intent-a.json").write_bytes(b"theirs")
    done = submit(place, "intent-a.json")
    assert done.returncode == 1
    error, hint = done.stderr.decode().splitlines()
    assert error == "ERROR: intent-a.json is in the handoff folder already, not picked up yet"
    assert "--name" in hint
    assert os.listdir(place / "handoff") == ["intent-a.json"]
    assert (place / "handoff/intent-a.json").read_bytes() == b"theirs"


def test_when_one_has_a_fault_none_is_handed_over(place: Path) -> None:
    (place / "intent-b.json").write_bytes(intent(replicas=-1))
    done = submit(place, "intent-a.json", "intent-b.json")
    assert done.returncode == 8
    assert b"/replicas: " in done.stdout
    assert b"intent-b.json has faults, so nothing was handed over" in done.stderr
    assert os.listdir(place / "handoff") == []


def test_faults_are_json_when_asked(place: Path) -> None:
    done = submit(place, "--json", "--name", "intent-b.json", "-", stdin=b"{}")
    assert done.returncode == 8
    (refused,) = json.loads(done.stdout)
    assert refused["faults"]


def test_a_missing_handoff_folder_is_an_error_and_not_made(place: Path) -> None:
    (place / "handoff").rmdir()
    done = submit(place, "intent-a.json")
    assert done.returncode == 1
    assert b"cannot open the handoff folder handoff" in done.stderr
    assert not (place / "handoff").exists()


def test_a_handoff_that_is_a_link_to_a_folder_is_followed(place: Path) -> None:
    (place / "link").symlink_to("handoff")
    assert submit(place, "-handoff", "link", "intent-a.json").returncode == 0
    assert os.listdir(place / "handoff") == ["intent-a.json"]


def test_standard_input_gets_a_name_of_its_own_or_the_one_given(place: Path) -> None:
    assert submit(place, "-", stdin=intent()).returncode == 0
    (name,) = os.listdir(place / "handoff")
    assert is_ulid(name.removeprefix("intent-").removesuffix(".json"))
    assert submit(place, "-", "--name", "intent-x.json", stdin=intent()).returncode == 0
    assert (place / "handoff/intent-x.json").read_bytes() == intent()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["scale.json"], "scale.json would not be picked up"),
        (["--name", "intent-../x.json", "intent-a.json"], "would not be picked up"),
        (["--name", "intent-" + "x" * 250 + ".json", "intent-a.json"], "would not be picked up"),
        (["--name", "intent-x.json", "intent-a.json", "-"], "--name is for one FILE"),
        (["intent-a.json", "./intent-a.json"], "two files have the name intent-a.json"),
        (["-", "-"], "standard input is named twice"),
        (["none.json", "--name", "intent-n.json"], "cannot read none.json"),
        (["intent-a.json", "--wait-timeout", "1s"], "--wait-timeout is given without --wait"),
        (["intent-a.json", "--wait", "--wait-timeout", "soon"], "'soon' is not a duration"),
        (["intent-a.json", "--wait", "--wait-timeout=-1s"], "-1s is too short"),
        (["intent-a.json", "--wait", "--wait-timeout", "0"], "0 is too short"),
    ],
)
def test_a_usage_error_hands_nothing_over(place: Path, words: list[str], error: str) -> None:
    (place / "scale.json").write_bytes(intent())
    done = submit(place, *words)
    assert done.returncode == 2
    assert error in done.stderr.decode()
    assert os.listdir(place / "handoff") == []


def killed_while_it_is_waited_for(top: Path, *words: str) -> tuple[int, str]:
    """What `submit --wait` says of a daemon that is killed while porch runs."""
    site = Site(top)
    (top / "intent-a.json").write_bytes(intent())
    with site.daemon("-porch", site.porch("exec /bin/sleep 1000")) as daemon:
        command = [*COMMAND, "submit", "--wait", *words, "intent-a.json"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=top, stdout=pipe, stderr=pipe, text=True) as child:
            site.wait_for_state("intent-a.json", State.RUNNING)
            daemon.kill()
            _, complaint = child.communicate(timeout=60)
    return child.returncode, complaint


def test_waiting_ends_when_the_daemon_is_gone_for_good(tmp_path: Path) -> None:
    status, complaint = killed_while_it_is_waited_for(tmp_path)

    assert status == 1
    assert "ERROR: no daemon runs any more: gave up waiting for 1 of 1" in complaint
    assert "hint: start one: conductor-loop\n" in complaint


def test_a_timeout_is_waited_out_although_the_daemon_is_gone_and_said_so(tmp_path: Path) -> None:
    status, complaint = killed_while_it_is_waited_for(tmp_path, "--wait-timeout", "9s")

    assert status == 1
    assert complaint.count("WARNING: the daemon is gone; waiting for another one until") == 1
    assert "ERROR: gave up waiting for 1 of 1" in complaint


def test_waiting_without_a_daemon_gives_up_and_leaves_the_file(place: Path) -> None:
    done = submit(place, "--wait", "--wait-timeout", "100ms", "intent-a.json")
    assert done.returncode == 1
    assert "gave up waiting for 1 of 1; they stay handed over" in done.stderr.decode()
    assert os.listdir(place / "handoff") == ["intent-a.json"]


def test_who_reads_through_a_pipe_sees_what_is_known_while_it_waits(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "intent-a.json").write_bytes(intent())
    command = [*COMMAND, "submit", "--wait", "intent-a.json"]
    with (
        site.daemon("-porch", site.porch("exec /bin/sleep 1000"), "-grace", "0s"),
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout is not None
        said, _, _ = select.select([child.stdout], [], [], 60)
        is_waiting = child.poll() is None
        child.kill()
        assert said
        assert is_waiting
        assert child.stdout.readline().decode().startswith("intent-a.json  sha256:")


@pytest.mark.usefixtures("daemon")
def test_it_follows_to_a_success(place: Path) -> None:
    done = submit(place, "--wait", "intent-a.json")
    assert done.returncode == 0
    name, intent_id, ending = done.stdout.decode().splitlines()
    assert name == f"intent-a.json  sha256:{sha256(intent())}"
    assert is_ulid(intent_id.removeprefix("intent-a.json  id:"))
    assert ending.startswith("intent-a.json  success: Processed by worker ")
    assert (place / "out/n/t/scaling-patch.yaml").exists()
    assert (place / "handoff/status/intent-a.json.status").exists()


@pytest.mark.usefixtures("daemon")
def test_it_follows_to_a_failure(place: Path) -> None:
    body = intent(intent_type="configuration")
    done = submit(place, "--wait", "--json", "--name", "intent-c.json", "-", stdin=body)
    assert done.returncode == 8
    (one,) = json.loads(done.stdout)
    assert (one["file"], one["sha256"], one["status"]) == ("intent-c.json", sha256(body), "failed")
    assert is_ulid(one["intent_id"])
    assert one["message"]


@pytest.mark.usefixtures("daemon")
def test_it_follows_several_to_the_end(place: Path) -> None:
    names = [f"intent-{n}.json" for n in range(5)]
    for n, name in enumerate(names):
        (place / name).write_bytes(intent(target=f"t{n}", replicas=n))
    done = submit(place, "--wait", "--json", *names)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [one["file"] for one in found] == names
    assert {one["status"] for one in found} == {"success"}
    assert len({one["intent_id"] for one in found}) == 5


@pytest.mark.usefixtures("daemon")
def test_the_same_again_is_a_duplicate_with_the_verdict_of_the_first(place: Path) -> None:
    (first,) = json.loads(submit(place, "--wait", "--json", "intent-a.json").stdout)
    again = submit(place, "--wait", "--json", "intent-a.json")
    (second,) = json.loads(again.stdout)
    assert again.returncode == 0
    assert second["duplicate_of"] == first["intent_id"]
    assert second["intent_id"] != first["intent_id"]
    assert second["message"] == first["message"]


@pytest.mark.usefixtures("daemon")
def test_a_name_that_comes_again_is_not_given_the_old_verdict(place: Path) -> None:
    (first,) = json.loads(submit(place, "--wait", "--json", "intent-a.json").stdout)
    (place / "intent-a.json").write_bytes(intent(intent_type="configuration"))
    done = submit(place, "--wait", "--json", "intent-a.json")
    (second,) = json.loads(done.stdout)
    assert done.returncode == 8
    assert (first["status"], second["status"]) == ("success", "failed")


@pytest.mark.usefixtures("daemon")
def test_without_waiting_the_id_is_told_as_soon_as_the_daemon_has_it(place: Path) -> None:
    (place / "intent-b.json").write_bytes(intent(target="u"))
    assert submit(place, "--wait", "intent-a.json").returncode == 0  # the daemon is up
    done = submit(place, "intent-b.json")
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.decode().splitlines()[1].startswith("intent-b.json  id:")


@pytest.mark.usefixtures("daemon")
def test_who_may_not_read_the_journal_learns_it_all_from_the_verdict(place: Path) -> None:
    blind = ("--wait", "--json", "-state-dir", "not-the-daemons")
    first = submit(place, *blind, "intent-a.json")
    (place / "intent-a.json").write_bytes(intent(intent_type="configuration"))
    second = submit(place, *blind, "intent-a.json")
    assert (first.returncode, second.returncode) == (0, 8)
    (success,), (failure,) = json.loads(first.stdout), json.loads(second.stdout)
    assert (success["status"], failure["status"]) == ("success", "failed")
    assert is_ulid(success["intent_id"])
    assert failure["intent_id"] > success["intent_id"]
