"""The handoff folder's layout: what is made, with which modes, what is refused, and reopening."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.handoff.layout import Layout, open_layout
from conductor_loop.core.faults import CannotStart, DurabilityLost
from tests.own_mounts import run_in_own_mounts

OURS = ("processed", "failed", "status", ".conductor", ".conductor/claimed")
as_root = os.geteuid() == 0
NOBODY = 65_534


@pytest.fixture
def handoff(tmp_path: Path) -> Path:
    return tmp_path / "handoff"


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder of an ordinary user, and that user's rights while it is used."""
    place = Path(tempfile.mkdtemp())
    if as_root:
        os.chown(place, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    yield place
    if as_root:
        os.seteuid(0)
        os.setegid(0)
    shutil.rmtree(place)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(handoff: Path, state_dir: Path | None = None) -> CannotStart:
    with pytest.raises(CannotStart) as raised:
        open_layout(handoff, state_dir)
    assert raised.value.hint
    return raised.value


def leads_to(handle: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(handle), path.stat())


def test_what_is_missing_is_made(handoff: Path) -> None:
    with open_layout(handoff) as layout:
        assert mode(handoff) == 0o755
        assert mode(handoff / "status/history") == 0o755
        assert mode(handoff / ".conductor") == 0o700
        assert mode(handoff / ".conductor/claimed") == 0o700
        assert leads_to(layout.handoff, handoff)
        assert leads_to(layout.processed, handoff / "processed")
        assert leads_to(layout.failed, handoff / "failed")
        assert leads_to(layout.status, handoff / "status")
        assert leads_to(layout.history, handoff / "status/history")
        assert leads_to(layout.conductor, handoff / ".conductor")
        assert leads_to(layout.claimed, handoff / ".conductor/claimed")
        assert leads_to(layout.quarantine, handoff / ".conductor/quarantine")
        assert leads_to(layout.state, handoff / ".conductor")
        assert layout.state_path == str(handoff / ".conductor")
        assert layout.is_state_inside
        assert layout.is_current()
        assert layout.notes == ()


def test_what_exists_keeps_its_mode_and_contents(handoff: Path) -> None:
    (handoff / "processed").mkdir(parents=True)
    handoff.chmod(0o777)
    (handoff / "processed/intent-a.json").write_bytes(b"{}")
    (handoff / "processed").chmod(0o750)
    with open_layout(handoff):
        assert (mode(handoff), mode(handoff / "processed")) == (0o777, 0o750)
        assert (handoff / "processed/intent-a.json").exists()


def test_the_private_folder_is_closed_to_others_again(handoff: Path) -> None:
    with open_layout(handoff):
        pass
    (handoff / ".conductor").chmod(0o2770)  # as fsGroup of Kubernetes leaves it
    with open_layout(handoff):
        assert mode(handoff / ".conductor") == 0o700


def test_closing_closes_every_descriptor(handoff: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with open_layout(handoff, handoff.parent / "state"):
        assert len(os.listdir("/proc/self/fd")) == before + 9
    refusal_before = len(os.listdir("/proc/self/fd"))
    shutil.rmtree(handoff / "status")
    (handoff / "status").symlink_to("/")
    refusal(handoff)
    assert len(os.listdir("/proc/self/fd")) == refusal_before == before


@pytest.mark.parametrize("name", OURS)
def test_row_09_a_symlink_in_place_of_a_folder_of_ours_is_refused(handoff: Path, name: str) -> None:
    elsewhere = handoff.parent / "elsewhere"
    elsewhere.mkdir()
    (handoff / name).parent.mkdir(parents=True, exist_ok=True)
    (handoff / name).symlink_to(elsewhere)
    error = refusal(handoff)
    assert error.code == "folder_is_symlink"
    assert str(handoff / name) in error.message
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", OURS)
def test_a_file_in_place_of_a_folder_of_ours_is_refused(handoff: Path, name: str) -> None:
    (handoff / name).parent.mkdir(parents=True, exist_ok=True)
    (handoff / name).write_bytes(b"")
    error = refusal(handoff)
    assert error.code == "folder_not_usable"
    assert str(handoff / name) in error.message


def test_a_folder_given_through_a_symlink_is_resolved_once(handoff: Path) -> None:
    link = handoff.parent / "link"
    handoff.mkdir()
    link.symlink_to(handoff)
    with open_layout(link) as layout:
        assert layout.path == str(handoff)
        link.unlink()
        link.symlink_to("/")
        assert layout.path == str(handoff)
        assert leads_to(layout.handoff, handoff)


def test_a_dangling_symlink_is_not_made_into_a_folder(handoff: Path) -> None:
    handoff.symlink_to(handoff.parent / "not-mounted")
    assert refusal(handoff).code == "handoff_dangling"
    assert not (handoff.parent / "not-mounted").exists()


def test_a_folder_that_cannot_be_made_is_told_in_the_words_of_the_original(
    ordinary_user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ordinary_user)
    ordinary_user.chmod(0o555)
    error = refusal(Path("handoff"))
    assert error.message == ("Failed to create handoff directory: mkdir handoff: permission denied")
    ordinary_user.chmod(0o755)


def test_a_folder_inside_a_closed_one_is_told_the_same_way(ordinary_user: Path) -> None:
    ordinary_user.chmod(0o000)
    error = refusal(ordinary_user / "closed/handoff")
    assert error.code == "folder_not_created"
    assert error.message.endswith(": permission denied")
    ordinary_user.chmod(0o755)


def test_a_parent_that_may_not_be_listed_is_no_hindrance(ordinary_user: Path) -> None:
    ordinary_user.chmod(0o300)
    with open_layout(ordinary_user / "handoff") as layout:
        assert layout.is_current()
    ordinary_user.chmod(0o755)


@pytest.mark.parametrize("name", ["", "processed", "failed", "status", ".conductor"])
def test_a_folder_that_may_not_be_written_is_refused(ordinary_user: Path, name: str) -> None:
    handoff = ordinary_user / "handoff"
    with open_layout(handoff):
        pass
    folder = handoff / name
    folder.chmod(0o500)
    error = refusal(handoff)
    assert error.code == "folder_not_writable"
    assert str(folder) in error.message
    assert f"container: --user {os.geteuid()}:{folder.stat().st_gid}" in error.hint
    folder.chmod(0o755)


def test_a_folder_of_root_had_better_been_made_before(ordinary_user: Path) -> None:
    if not as_root:
        pytest.skip("only root can make a folder of its own")
    handoff = ordinary_user / "handoff"
    with open_layout(handoff):
        pass
    user = os.geteuid()
    os.seteuid(0)
    os.chown(handoff, 0, 0)
    os.seteuid(user)
    assert '--user "$(id -u):$(id -g)"' in refusal(handoff).hint


def test_a_private_folder_of_somebody_else_is_refused(handoff: Path) -> None:
    if not as_root:
        pytest.skip("only root can make a folder of somebody else")
    (handoff / ".conductor").mkdir(parents=True)
    os.chown(handoff / ".conductor", NOBODY, NOBODY)
    assert refusal(handoff).code == "folder_not_ours"


def test_root_goes_on_with_the_private_folder_of_the_folders_owner(handoff: Path) -> None:
    if not as_root:
        pytest.skip("only root can make a folder of somebody else")
    with open_layout(handoff):
        pass
    for path in (handoff, *handoff.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    with open_layout(handoff) as layout:
        assert layout.is_current()


def test_a_state_dir_of_somebody_else_is_refused(handoff: Path) -> None:
    if not as_root:
        pytest.skip("only root can make a folder of somebody else")
    state = handoff.parent / "state"
    state.mkdir(mode=0o700)
    os.chown(state, NOBODY, NOBODY)
    assert refusal(handoff, state).code == "folder_not_ours"


@pytest.mark.parametrize("found", [0o777, 0o770, 0o755])
def test_a_state_dir_that_others_may_enter_is_closed_and_told_of(handoff: Path, found: int) -> None:
    state = handoff.parent / "state"
    state.mkdir()
    state.chmod(found)
    with open_layout(handoff, state) as layout:
        assert mode(state) == 0o700
        told = f"{state} had the mode {found:04o}: it is 0700 now"
        assert told in layout.notes
        assert layout.closed == ()  # nothing of ours was in it yet


def test_a_state_dir_around_the_handoff_folder_lets_others_pass_and_write_no_more(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o777)
    with open_layout(tmp_path / "handoff", tmp_path):
        assert mode(tmp_path) == 0o755


def test_a_state_dir_that_everybody_may_write_to_for_good_is_refused(ordinary_user: Path) -> None:
    if not as_root:
        pytest.skip("only root can make a folder of root's")
    state = ordinary_user / "state"
    with contextlib.ExitStack() as stack:
        os.seteuid(0)
        stack.callback(os.seteuid, NOBODY)
        state.mkdir()
        state.chmod(0o1777)
    assert refusal(ordinary_user / "handoff", state).code == "folder_not_private"


@pytest.mark.parametrize("where", ["inside", "elsewhere"])
def test_files_of_the_state_that_others_may_read_are_closed_and_told_of(
    handoff: Path, where: str
) -> None:
    given = None if where == "inside" else handoff.parent / "state"
    with open_layout(handoff, given) as layout:
        state = Path(layout.state_path)
    (state / "audit").mkdir(mode=0o700)
    ours = [
        state / "journal.db",
        state / "journal.db-wal",
        state / "audit/audit-000000000001.jsonl",
    ]
    for path in (*ours, state / "notes.txt"):
        path.touch()
        path.chmod(0o644)
    with open_layout(handoff, given) as layout:
        assert {mode(path) for path in ours} == {0o600}
        assert {Path(each.path) for each in layout.closed} == set(ours)
        assert mode(state / "notes.txt") == 0o644


def test_the_state_may_live_elsewhere(handoff: Path) -> None:
    state = handoff.parent / "state"
    with open_layout(handoff, state) as layout:
        assert layout.state_path == str(state)
        assert leads_to(layout.state, state)
        assert leads_to(layout.claimed, handoff / ".conductor/claimed")
        assert not layout.is_state_inside
        assert mode(state) == 0o700


SAY_NOTES = """
from pathlib import Path
from conductor_loop.adapters.handoff.layout import open_layout
with open_layout(Path("handoff")) as layout:
    [note] = layout.notes
    assert note.startswith("processed/ is on another file system"), note
"""

REFUSE_CLAIMS = """
from pathlib import Path
from conductor_loop.adapters.handoff.layout import open_layout
from conductor_loop.core.faults import CannotStart
try:
    open_layout(Path("handoff"))
except CannotStart as error:
    assert error.code == "claims_on_other_device"
    assert "-state-dir" in error.hint
else:
    raise AssertionError("not refused")
"""


@pytest.mark.needs("unshare")
def test_a_view_on_another_file_system_is_allowed_and_noted(tmp_path: Path) -> None:
    (tmp_path / "handoff/processed").mkdir(parents=True)
    run_in_own_mounts("mount -t tmpfs none handoff/processed", SAY_NOTES, tmp_path)


@pytest.mark.needs("unshare")
def test_claims_on_another_file_system_are_refused(tmp_path: Path) -> None:
    (tmp_path / "handoff/.conductor").mkdir(parents=True, mode=0o700)
    run_in_own_mounts("mount -t tmpfs none handoff/.conductor", REFUSE_CLAIMS, tmp_path)


# Opening again


def test_reopening_keeps_the_numbers_and_follows_the_names(handoff: Path) -> None:
    with open_layout(handoff) as layout:
        away = handoff.rename(handoff.parent / "away")
        assert not layout.is_current()
        handoff.mkdir()
        layout.reopen()
        assert layout.is_current()
        assert leads_to(layout.status, handoff / "status")
        assert leads_to(layout.claimed, handoff / ".conductor/claimed")
        assert not os.get_inheritable(layout.status)
        assert sorted(path.name for path in away.iterdir()) == ["failed", "processed", "status"]


def test_reopening_a_missing_folder_is_refused_and_changes_nothing(handoff: Path) -> None:
    with open_layout(handoff) as layout:
        away = handoff.rename(handoff.parent / "away")
        with pytest.raises(CannotStart):
            layout.reopen()
        assert leads_to(layout.handoff, away)
        assert not handoff.exists()


def test_a_symlink_that_is_switched_is_noticed_and_refused_until_it_is_back(
    tmp_path: Path,
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    link = tmp_path / "handoff"
    link.symlink_to("a")
    with open_layout(link) as layout:
        assert layout.is_current()
        link.unlink()
        link.symlink_to("b")
        assert not layout.is_current()
        with pytest.raises(CannotStart) as raised:
            layout.reopen()
        assert raised.value.code == "handoff_replaced"
        assert "restart" in raised.value.hint
        assert leads_to(layout.handoff, tmp_path / "a")
        link.unlink()
        link.symlink_to(tmp_path / "a")
        assert layout.is_current()


def test_a_folder_behind_a_symlink_that_is_made_anew_is_opened_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    link = tmp_path / "handoff"
    link.symlink_to("a")
    with open_layout(link) as layout:
        (tmp_path / "a").rename(tmp_path / "away")
        (tmp_path / "a").mkdir()
        assert not layout.is_current()
        layout.reopen()
        assert layout.is_current()
        assert leads_to(layout.handoff, tmp_path / "a")


def test_a_folder_with_a_state_of_its_own_is_not_mixed_with_ours(handoff: Path) -> None:
    with open_layout(handoff) as layout:
        away = handoff.rename(handoff.parent / "away")
        shutil.copytree(away, handoff)
        with pytest.raises(CannotStart) as raised:
            layout.reopen()
        assert raised.value.code == "handoff_replaced"
        assert leads_to(layout.conductor, away / ".conductor")


def test_a_state_that_is_gone_is_a_reason_to_stop(handoff: Path) -> None:
    state = handoff.parent / "state"
    with open_layout(handoff, state) as layout:
        shutil.rmtree(state)
        assert not layout.is_current()
        with pytest.raises(DurabilityLost):
            layout.reopen()


def swap(layout: Layout, name: str) -> Path:
    place = Path(layout.path) / name
    place.rename(place.with_name("moved-away"))
    return place


@pytest.mark.parametrize("name", ["processed", "failed", "status"])
def test_a_folder_of_ours_swapped_for_a_symlink_is_noticed_and_refused(
    handoff: Path, name: str
) -> None:
    with open_layout(handoff) as layout:
        swap(layout, name).symlink_to("moved-away")
        assert not layout.is_current()
        with pytest.raises(CannotStart) as raised:
            layout.reopen()
        assert raised.value.code == "folder_is_symlink"
