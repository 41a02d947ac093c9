"""Packages in OUT, on real file systems: whole at every moment, and no hand edit lost unsaid."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from conductor_loop.adapters.builtin.package_contents import contents_in
from conductor_loop.adapters.builtin.package_folder import PackageFolder, Placed
from conductor_loop.core.events import Failure, FailureKind
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.packages import Package

TARGET = ("oran-sim", "upf")
ONE = Package(TARGET, {"patch.yaml": b"replicas: 1\n"})
TWO = Package(TARGET, {"patch.yaml": b"replicas: 22\n"})
THREE = Package(TARGET, {"patch.yaml": b"replicas: 333\n"})
MANY = Package(TARGET, {"Kptfile": b"k\n", "README.md": b"r\n", "patch.yaml": b"replicas: 1\n"})
NOBODY = 65534


def files_in(out: Path, folder: tuple[str, str]) -> Mapping[str, bytes]:
    return contents_in(out, folder).files


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def folder(tmp_path: Path, out: Path) -> Iterator[PackageFolder]:
    (tmp_path / "state").mkdir()
    with closing(PackageFolder.open(out, tmp_path / "state")) as opened:
        yield opened


def no_warning(text: str) -> None:
    raise AssertionError(text)


def put(
    folder: PackageFolder, package: Package, warn: Callable[[str], None] = no_warning
) -> Placed:
    placed = folder.put(package, warn)
    assert isinstance(placed, Placed), placed
    return placed


def refused(folder: PackageFolder, package: Package) -> Failure:
    failure = folder.put(package, no_warning)
    assert isinstance(failure, Failure), failure
    assert failure.hint
    return failure


def _read(name: str, folder: int) -> bytes:
    with open(name, "rb", opener=lambda path, flags: os.open(path, flags, dir_fd=folder)) as file:
        return file.read()


@contextmanager
def closing_handle(handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        os.close(handle)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def package_path(out: Path) -> Path:
    return out.joinpath(*TARGET)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_modes_are_those_promised_whatever_the_umask(tmp_path: Path, out: Path, mask: int) -> None:
    (tmp_path / "state").mkdir()
    with umask(mask), closing(PackageFolder.open(out, tmp_path / "state")) as folder:
        for package in (ONE, TWO, THREE):
            put(folder, package)
            place = package_path(out)
            assert [mode_of(p) for p in (out, place.parent, place)] == [0o755] * 3
            assert mode_of(place / "patch.yaml") == 0o644
    assert mode_of(tmp_path / "state" / "packages") == 0o700


def test_only_packages_are_seen_in_out(folder: PackageFolder, out: Path) -> None:
    put(folder, ONE)
    put(folder, TWO)
    assert [path.relative_to(out).as_posix() for path in sorted(out.rglob("*"))] == [
        "oran-sim",
        "oran-sim/upf",
        "oran-sim/upf/patch.yaml",
    ]


def test_each_package_takes_the_place_of_the_one_before_as_a_whole(
    folder: PackageFolder, out: Path
) -> None:
    for package in (ONE, MANY, TWO, MANY, THREE, TWO, TWO, ONE):
        put(folder, package)
        assert files_in(out, TARGET) == package.files


def test_a_package_that_is_there_already_is_not_written(folder: PackageFolder, out: Path) -> None:
    assert put(folder, MANY).changed
    before = {path: path.stat() for path in [package_path(out), *package_path(out).iterdir()]}
    again = put(folder, MANY)
    assert not again.changed
    assert not again.notes
    assert {path: path.stat() for path in before} == before


def test_who_holds_a_folder_open_finds_no_other_packages_files_in_it(
    folder: PackageFolder, out: Path
) -> None:
    def seen_in(handle: int) -> dict[str, bytes]:
        return {name: _read(name, handle) for name in os.listdir(handle)}

    put(folder, MANY)
    with closing_handle(os.open(package_path(out), os.O_RDONLY)) as held:
        put(folder, Package(TARGET, dict.fromkeys(MANY.files, b"next\n")))
        assert seen_in(held) == MANY.files
        for content in (b"after next\n", b"last\n"):
            put(folder, Package(TARGET, dict.fromkeys(MANY.files, content)))
            assert seen_in(held) == {}


def test_a_file_that_somebody_still_reads_is_not_written_over(
    folder: PackageFolder, out: Path
) -> None:
    put(folder, ONE)
    folder.settle()
    with (package_path(out) / "patch.yaml").open("rb") as reader:
        for package in (TWO, THREE, TWO):
            put(folder, package)
            folder.settle()
        assert reader.read() == ONE.files["patch.yaml"]


def test_a_file_with_another_name_is_not_written_over(
    folder: PackageFolder, out: Path, tmp_path: Path
) -> None:
    put(folder, ONE)
    folder.settle()
    os.link(package_path(out) / "patch.yaml", tmp_path / "backup")
    for package in (TWO, THREE, TWO):
        put(folder, package)
        folder.settle()
    assert (tmp_path / "backup").read_bytes() == ONE.files["patch.yaml"]


def _change(place: Path) -> None:
    (place / "patch.yaml").write_text("replicas: 9\n")


def _add(place: Path) -> None:
    (place / "notes.txt").write_text("mine\n")


def _remove(place: Path) -> None:
    (place / "patch.yaml").unlink()


def _link(place: Path) -> None:
    _remove(place)
    (place / "patch.yaml").symlink_to("/etc/hostname")


def _fifo(place: Path) -> None:
    _remove(place)
    os.mkfifo(place / "patch.yaml")


def _grow(place: Path) -> None:
    os.truncate(place / "patch.yaml", 1 << 40)


def _nest(place: Path) -> None:
    (place / "deep" / "er").mkdir(parents=True)
    (place / "deep" / "er" / "file").write_text("mine\n")


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (_change, "patch.yaml"),
        (_add, "notes.txt"),
        (_remove, "patch.yaml"),
        (_link, "patch.yaml"),
        (_fifo, "patch.yaml"),
        (_grow, "patch.yaml"),
        (_nest, "deep"),
    ],
)
def test_a_hand_edit_is_said_before_it_is_replaced_and_kept(
    folder: PackageFolder, out: Path, tmp_path: Path, edit: Callable[[Path], None], named: str
) -> None:
    put(folder, ONE)
    edit(package_path(out))
    edited = sorted(path.lstat().st_ino for path in package_path(out).rglob("*"))
    seen: list[tuple[str, list[int]]] = []

    def warn(text: str) -> None:
        inodes = sorted(path.lstat().st_ino for path in package_path(out).rglob("*"))
        seen.append((text, inodes))

    placed = put(folder, TWO, warn)
    kept = tmp_path / "state" / "packages" / "edited" / "oran-sim" / "upf"
    what = f"a folder edited by hand: files {named}; it is kept as {kept}"
    assert seen == [(f"replacing {what}", edited)]
    assert placed.notes == (f"replaced {what}",)
    assert files_in(out, TARGET) == TWO.files
    assert sorted(path.lstat().st_ino for path in kept.rglob("*")) == edited


def test_a_hand_edit_is_noticed_although_the_package_stays_the_same(
    folder: PackageFolder, out: Path
) -> None:
    put(folder, ONE)
    _change(package_path(out))
    assert put(folder, ONE, lambda _: None).notes
    assert files_in(out, TARGET) == ONE.files
    assert not put(folder, TWO).notes


def test_the_last_edited_folder_is_the_one_that_is_kept(
    folder: PackageFolder, out: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "state" / "packages" / "edited" / "oran-sim" / "upf"
    for number, edit in enumerate((_nest, _add, _change)):
        put(folder, (ONE, TWO)[number % 2], lambda _: None)
        edit(package_path(out))
    put(folder, THREE, lambda _: None)
    assert sorted(path.name for path in kept.iterdir()) == ["patch.yaml"]
    assert (kept / "patch.yaml").read_text() == "replicas: 9\n"


def test_what_was_edited_into_the_very_package_is_no_edit(folder: PackageFolder, out: Path) -> None:
    put(folder, ONE)
    (package_path(out) / "patch.yaml").write_bytes(TWO.files["patch.yaml"])
    assert not put(folder, TWO).notes
    assert not put(folder, THREE).notes


def test_a_folder_that_somebody_else_made_is_kept_and_said(
    folder: PackageFolder, out: Path, tmp_path: Path
) -> None:
    package_path(out).mkdir(parents=True)
    (package_path(out) / "theirs.yaml").write_text("x\n")
    (note,) = put(folder, ONE, lambda _: None).notes
    assert "no record of" in note
    kept = tmp_path / "state" / "packages" / "edited" / "oran-sim" / "upf"
    assert (kept / "theirs.yaml").read_text() == "x\n"


def test_names_of_edited_files_are_escaped_and_few(folder: PackageFolder, out: Path) -> None:
    put(folder, ONE)
    for number in range(9):
        (package_path(out) / f"\x1b[2J{number}").touch()
    (note,) = put(folder, TWO, lambda _: None).notes
    assert r"\x1b[2J0, \x1b[2J1" in note
    assert "and 4 more" in note
    assert note.isprintable()


def test_who_wrote_a_folder_is_remembered_across_processes(tmp_path: Path, out: Path) -> None:
    (tmp_path / "state").mkdir()
    for package in (ONE, TWO, THREE):
        with closing(PackageFolder.open(out, tmp_path / "state")) as folder:
            assert not put(folder, package).notes


def test_what_was_written_is_remembered_for_each_out(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for name, package in (("a", ONE), ("b", TWO), ("a", THREE), ("b", ONE)):
        with closing(PackageFolder.open(tmp_path / name, tmp_path / "state")) as folder:
            assert not put(folder, package).notes


def test_what_was_written_is_remembered_of_folders_that_were_moved_together(
    tmp_path: Path,
) -> None:
    (tmp_path / "here" / "state").mkdir(parents=True)
    with closing(PackageFolder.open(tmp_path / "here/out", tmp_path / "here/state")) as folder:
        put(folder, ONE)
    (tmp_path / "here").rename(tmp_path / "there")
    with closing(PackageFolder.open(tmp_path / "there/out", tmp_path / "there/state")) as folder:
        assert not put(folder, TWO).notes


def test_what_an_earlier_version_remembered_is_understood(tmp_path: Path, out: Path) -> None:
    (tmp_path / "state").mkdir()
    with closing(PackageFolder.open(out, tmp_path / "state")) as folder:
        put(folder, ONE)
    (records,) = (tmp_path / "state" / "packages").glob("written-*")
    records.rename(records.with_name("written"))
    for package in (TWO, THREE):
        with closing(PackageFolder.open(out, tmp_path / "state")) as folder:
            assert not put(folder, package).notes


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", ["symlink", "dangling", "file"])
def test_row_37_nothing_is_reached_through_what_is_no_folder(
    folder: PackageFolder, out: Path, tmp_path: Path, depth: int, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if kind != "dangling":
        (elsewhere / "upf").mkdir(parents=True)
    place = out.joinpath(*TARGET[:depth])
    place.parent.mkdir(exist_ok=True)
    if kind == "file":
        place.write_text("in the way")
    else:
        place.symlink_to(elsewhere)
    failure = refused(folder, ONE)
    assert (failure.kind, failure.code) == (FailureKind.PERMANENT, "out_obstructed")
    assert str(place) in failure.message
    assert not elsewhere.exists() or list(elsewhere.rglob("*")) == [elsewhere / "upf"]
    place.unlink()
    put(folder, ONE)


def test_out_itself_may_be_a_symlink(tmp_path: Path, out: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").mkdir()
    out.symlink_to("real")
    with closing(PackageFolder.open(out, tmp_path / "state")) as folder:
        put(folder, ONE)
    assert files_in(tmp_path / "real", TARGET) == ONE.files


def test_an_out_that_was_moved_away_is_made_anew(
    folder: PackageFolder, out: Path, tmp_path: Path
) -> None:
    put(folder, ONE)
    out.rename(tmp_path / "old")
    put(folder, TWO)
    assert files_in(out, TARGET) == TWO.files
    assert files_in(tmp_path / "old", TARGET) == ONE.files


@contextmanager
def no_permission(path: Path) -> Iterator[None]:
    """Make a folder unwritable, also for root, by being nobody for a while."""
    mode, user = mode_of(path), os.geteuid()
    path.chmod(0o555)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)


def test_a_missing_permission_is_the_environments_fault(folder: PackageFolder, out: Path) -> None:
    put(folder, ONE)
    with no_permission(out / "oran-sim"):
        failure = refused(folder, TWO)
    assert (failure.kind, failure.code) == (FailureKind.ENVIRONMENT, "out_not_permitted")
    assert files_in(out, TARGET) == ONE.files
    put(folder, TWO)


def test_an_out_that_cannot_be_made_or_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir()
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(CannotStart, match="Failed to create output directory"):
            PackageFolder.open(path)
    with no_permission(tmp_path / "closed"), pytest.raises(CannotStart, match="ermission denied"):
        PackageFolder.open(tmp_path / "closed")


def test_handles_are_few_while_unsynced_and_none_afterwards(folder: PackageFolder) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for number in range(40):
        put(folder, Package(("many", f"t{number}"), MANY.files))
        assert count() <= before + 4
    folder.settle()
    assert count() == before
    put(folder, ONE)
    folder.settle()
    assert count() == before


@pytest.mark.skipif(
    not os.path.isdir("/dev/shm"),
    reason="needs a second file system",
)
def test_staging_moves_beside_out_when_state_is_on_another_file_system(
    tmp_path: Path, out: Path
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as state:
        if os.stat(state).st_dev == tmp_path.stat().st_dev:
            pytest.skip("the temporary folder is on the same file system")
        with closing(PackageFolder.open(out, state)) as folder:
            put(folder, ONE)
    assert (tmp_path / ".out.staging").is_dir()
    assert files_in(out, TARGET) == ONE.files


def run_script(script: str, *args: object, under: tuple[str, ...] = ()) -> str:
    """Run a script that may use what stands in its prologue; return what it printed."""
    prologue = """
        import errno, os, signal, subprocess, sys
        from pathlib import Path
        from conductor_loop.adapters.builtin.package_contents import contents_in
        from conductor_loop.adapters.builtin.package_folder import PackageFolder, Placed
        from conductor_loop.core.packages import Package
        def files_in(out, folder):
            return contents_in(out, folder).files
        TARGET = ("oran-sim", "upf")
        ONE = Package(TARGET, {"patch.yaml": b"replicas: 1\\n", "Kptfile": b"x" * 9000})
        TWO = Package(TARGET, {"patch.yaml": b"replicas: 22\\n", "README.md": b"y" * 9000})
        top = Path(sys.argv[1])
    """
    source = textwrap.dedent(prologue) + textwrap.dedent(script)
    command = [*under, sys.executable, "-c", source, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_kill_at_any_step_leaves_the_old_package_or_the_new_one(tmp_path: Path) -> None:
    # Killed before the Nth thing it does to a file, by Python's own audit events, N rising to a
    # clean run. First with no package there, then with two that are exchanged.
    steps = run_script(
        """
        (top / "state").mkdir()
        out = top / "out"

        def killed(step, package):
            child = os.fork()
            if child == 0:
                left = step

                def count(event, _):
                    nonlocal left
                    if event.startswith(("open", "os.", "fcntl", "shutil")):
                        left -= 1
                        if left == 0:
                            os.kill(os.getpid(), signal.SIGKILL)

                sys.addaudithook(count)
                placed = PackageFolder.open(out, top / "state").put(package, print)
                os._exit(0 if isinstance(placed, Placed) and not placed.notes else 1)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        def bring(package):
            folder = PackageFolder.open(out, top / "state")
            placed = folder.put(package, print)
            assert isinstance(placed, Placed) and placed.notes == (), placed
            folder.close()

        for before in ({}, ONE.files):
            step, code = 0, None
            while code != 0:
                step += 1
                code = killed(step, TWO)
                assert code in (0, -signal.SIGKILL), code
                assert files_in(out, TARGET) in (before, TWO.files), step
                seen = {path.name for path in out.glob("*")} if out.exists() else set()
                assert seen <= {"oran-sim", ".conductor-loop-probe"}, seen
                bring(TWO)
                assert files_in(out, TARGET) == TWO.files
                if before:
                    bring(ONE)
                else:
                    subprocess.run(["rm", "-rf", out, top / "state" / "packages"], check=True)
            bring(ONE)
            print(step)
        """,
        tmp_path,
    )
    assert all(int(step) > 15 for step in steps.split())


def test_a_reader_at_any_step_ends_nothing_and_finds_no_file_half_written(tmp_path: Path) -> None:
    # Before each thing that is done to a file, by Python's own audit events, somebody looks
    # through every folder that was ever in OUT.
    script = """
        def look():
            for handle, package in held:
                for name in os.listdir(handle):
                    file = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=handle)
                    assert os.read(file, 1 << 16) == package.files[name], name
                    os.close(file)

        def reader(event, _):
            global is_looking, looks
            if event.startswith(("open", "os.", "fcntl", "shutil")) and not is_looking:
                is_looking = True
                look()
                is_looking = False
                looks += 1

        (top / "state").mkdir()
        folder = PackageFolder.open(top / "out", top / "state")
        held, is_looking, looks = [], False, 0
        sys.addaudithook(reader)
        for size in (9000, 20, 5000, 1, 9000):
            package = Package(TARGET, {"Kptfile": b"k" * size, "patch.yaml": b"p%d" % size})
            assert isinstance(folder.put(package, print), Placed)
            folder.settle()
            held.append((os.open(top / "out/oran-sim/upf", os.O_RDONLY), package))
        print(looks)
    """
    assert int(run_script(script, tmp_path)) > 50


@pytest.mark.needs("strace")
def test_without_exchange_two_renames_do(tmp_path: Path) -> None:
    run_script(
        """
        (top / "state").mkdir()
        folder = PackageFolder.open(top / "out", top / "state")
        for package in (ONE, TWO, ONE, TWO):
            placed = folder.put(package, print)
            assert isinstance(placed, Placed), placed
            assert files_in(top / "out", TARGET) == package.files
        """,
        tmp_path,
        under=(
            *("strace", "-f", "-o", "/dev/null", "-e", "trace=renameat2"),
            *("-e", "inject=renameat2:error=EINVAL"),
        ),
    )


@pytest.mark.needs("strace")
def test_after_a_failed_sync_what_looks_right_is_written_anew(tmp_path: Path) -> None:
    run_script(
        """
        from conductor_loop.core.faults import DurabilityLost

        (top / "state").mkdir()
        folder = PackageFolder.open(top / "out", top / "state")
        folder.put(ONE, print)
        try:
            folder.settle()
        except DurabilityLost:
            first = os.stat(top / "out/oran-sim/upf/patch.yaml").st_ino
        placed = folder.put(ONE, print)
        assert isinstance(placed, Placed) and placed.changed and not placed.notes, placed
        assert os.stat(top / "out/oran-sim/upf/patch.yaml").st_ino != first
        folder.settle()
        assert not folder.put(ONE, print).changed
        """,
        tmp_path,
        under=(
            *("strace", "-f", "-o", "/dev/null", "-e", "trace=syncfs"),
            *("-e", "inject=syncfs:error=EIO:when=1"),
        ),
    )


SMALL_DISK = """
    disk = top / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", OPTIONS, "none", disk]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        print("may not mount a file system")
        sys.exit(77)
"""


@pytest.mark.needs("unshare")
@pytest.mark.parametrize("options", ["size=128k", "nr_inodes=24"])
def test_a_full_disk_keeps_the_old_package_and_takes_the_new_one_later(
    tmp_path: Path, options: str
) -> None:
    run_script(
        f"OPTIONS = {options!r}\n"
        + textwrap.dedent(SMALL_DISK)
        + textwrap.dedent(
            """
            (disk / "state").mkdir()
            folder = PackageFolder.open(disk / "out", disk / "state")
            assert isinstance(folder.put(ONE, print), Placed)
            fillers = []
            try:
                while True:
                    fillers.append(disk / f"filler{len(fillers)}")
                    fillers[-1].write_bytes(b"z" * 4096)
            except OSError as error:
                assert error.errno == errno.ENOSPC
            for _ in range(3):
                failure = folder.put(TWO, print)
                assert (failure.kind, failure.code) == ("environment", "out_no_room"), failure
                assert files_in(disk / "out", TARGET) == ONE.files
            for filler in fillers:
                filler.unlink(missing_ok=True)
            placed = folder.put(TWO, print)
            assert isinstance(placed, Placed) and not placed.notes, placed
            assert files_in(disk / "out", TARGET) == TWO.files
            """
        ),
        tmp_path,
        under=("unshare", "-rm"),
    )


@pytest.mark.needs("unshare")
def test_staging_hides_within_out_when_out_is_a_mount_point(tmp_path: Path) -> None:
    run_script(
        "OPTIONS = 'size=1m'\n"
        + textwrap.dedent(SMALL_DISK)
        + textwrap.dedent(
            """
            (top / "state").mkdir()
            folder = PackageFolder.open(disk, top / "state")
            for package in (ONE, TWO, ONE):
                assert isinstance(folder.put(package, print), Placed)
                assert files_in(disk, TARGET) == package.files
            assert sorted(os.listdir(disk)) == [".conductor-loop", "oran-sim"]
            assert (disk / ".conductor-loop" / ".gitignore").read_text() == "*\\n"
            """
        ),
        tmp_path,
        under=("unshare", "-rm"),
    )


def test_processes_that_share_a_namespace_do_not_disturb_each_other(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    script = """
        folder = PackageFolder.open(top / "out", top / "state")
        for number in range(30):
            for target in ("common", f"own-{sys.argv[2]}"):
                files = {"a": sys.argv[2].encode() * (number + 1), "b": b"%d" % number}
                placed = folder.put(Package(("ns", target), files), lambda _: None)
                if target != "common":
                    assert isinstance(placed, Placed) and not placed.notes, placed
                    assert files_in(top / "out", ("ns", target)) == files
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: run_script(script, tmp_path, name), "xyz"))
    seen = files_in(tmp_path / "out", ("ns", "common"))
    assert len(set(seen["a"])) == 1
    assert set(seen) == {"a", "b"}


def test_a_process_that_stands_still_in_a_package_holds_nobody_up_for_ever(
    tmp_path: Path, folder: PackageFolder, out: Path
) -> None:
    put(folder, ONE)
    others = os.open(tmp_path / "state" / "packages" / "staged" / TARGET[0], os.O_RDONLY)
    fcntl.flock(others, fcntl.LOCK_EX)

    failure = refused(folder, TWO)

    assert (failure.kind, failure.code) == (FailureKind.ENVIRONMENT, "out_in_use")
    assert files_in(out, TARGET) == ONE.files
    os.close(others)
    put(folder, TWO)
    assert files_in(out, TARGET) == TWO.files


def test_reading_a_package_follows_no_symlink_and_leaves_out_what_is_no_file(
    folder: PackageFolder, out: Path
) -> None:
    assert files_in(out, TARGET) == {}
    put(folder, ONE)
    (package_path(out) / "link").symlink_to("patch.yaml")
    (package_path(out) / "sub").mkdir()
    os.mkfifo(package_path(out) / "fifo")
    assert files_in(out, TARGET) == ONE.files
