"""A key file that changes under the running daemon, swapped as Kubernetes swaps a Secret."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conductor_loop.adapters.keys.formats import private_pem
from conductor_loop.adapters.keys.public import read_chain
from conductor_loop.adapters.keys.store import Keys, open_keys
from conductor_loop.core.faults import UsageError
from conductor_loop.settings import Settings
from conductor_loop.settings.reloading import Reloading
from conductor_loop.wiring.key_renewal import KeyRenewal
from conductor_loop.wiring.lifecycle import read_settings_again
from tests.fakes import FakeClock
from tests.fakes_notices import NoticesInMemory
from tests.system.daemon import Daemon, Site, intent, wait_until

OLD, NEW = (private_pem(number.to_bytes(32, "big")) for number in (7, 8))


class Secret:
    """A Secret as the kubelet mounts it: FILE -> ..data/FILE, and ..data -> a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._versions = 0
        self.put(OLD)
        self.file = folder / "signing.pem"
        self.file.symlink_to("..data/signing.pem")

    def put(self, data: bytes, mode: int = 0o440) -> None:
        """Bring another version, by one rename of the link."""
        self._versions += 1
        version = self.folder / f"..{self._versions}"
        version.mkdir()
        (version / "signing.pem").write_bytes(data)
        (version / "signing.pem").chmod(mode)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        os.replace(fresh, self.folder / "..data")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Secret:
    # Away from handoff and settings, whose neighbours a confined daemon may read anyway.
    return Secret(tmp_path_factory.mktemp("mounted") / "secret")


@pytest.fixture
def settings_file(tmp_path: Path, secret: Secret) -> Path:
    path = tmp_path / "settings/conductor.toml"
    path.parent.mkdir()
    path.write_text(f'key-file = "{secret.file}"\n')
    return path


@pytest.fixture
def daemon(site: Site, settings_file: Path) -> Iterator[Daemon]:
    with site.daemon("-config", str(settings_file)) as running:
        yield running


def signer(site: Site, name: str) -> str:
    """Whose signature the verdict of a new intent has."""
    site.hand_over(f"intent-{name}.json", intent(name))
    path = str(site.verdict_path(f"intent-{name}.json"))
    site.verdict(f"intent-{name}.json")
    (told,) = site.asked("verify", path)["files"]
    return str(told["kid"])


def kids(site: Site) -> list[str]:
    """The chain of custody."""
    return [record.kid for record in read_chain(site.state)]


@pytest.mark.usefixtures("daemon")
def test_a_reload_takes_what_the_key_file_has_now(site: Site, secret: Secret) -> None:
    before = signer(site, "a")
    secret.put(NEW)
    site.command("config", "reload")
    after = signer(site, "b")
    assert kids(site) == [before, after]
    assert site.command("verify", "--all").returncode == 0


def test_a_swapped_secret_is_taken_without_a_word(
    site: Site, secret: Secret, daemon: Daemon
) -> None:
    before = signer(site, "a")
    secret.put(NEW)
    wait_until(lambda: len(kids(site)) == 2, "the new key is on record")
    assert signer(site, "b") == kids(site)[1] != before
    assert daemon.is_alive


def test_the_key_before_vouches_for_the_new_one_and_the_audit_log_has_it(
    site: Site, secret: Secret, daemon: Daemon
) -> None:
    secret.put(NEW)
    daemon.send(signal.SIGHUP)
    wait_until(lambda: len(kids(site)) == 2, "the new key is on record")
    record = read_chain(site.state)[1]
    assert (record.reason, record.is_vouched_for) == ("given", True)
    wait_until(
        lambda: bool(site.asked("audit", "show", "--action", "security.key_rotated")),
        "the audit log tells of it",
    )


@pytest.mark.parametrize(("data", "mode"), [(NEW, 0o444), (b"no key", 0o440)])
def test_a_key_file_that_is_refused_changes_nothing_and_is_told(
    site: Site, secret: Secret, settings_file: Path, daemon: Daemon, data: bytes, mode: int
) -> None:
    before = signer(site, "a")
    secret.put(data, mode)
    settings_file.write_text(f'key-file = "{secret.file}"\nlog-level = "debug"\n')
    refused = site.asked("config", "reload")
    (refusal,) = refused["refusals"]
    assert refusal["code"] in ("key_not_private", "key_unreadable")
    assert refused["changed"] == []
    wait_until(lambda: daemon.has_said("the signing key in use stays"), "the log tells of it")
    assert signer(site, "b") == before
    assert kids(site) == [before]


# Without a daemon, whose own look at the file could come first.


@pytest.fixture
def keys(site: Site, secret: Secret) -> Keys:
    return open_keys(site.top, datetime(2026, 3, 1, tzinfo=UTC), "alice", given=secret.file)


def read_again(keys: Keys, load: Callable[[], Settings]) -> tuple[Sequence[str], Sequence[str]]:
    notices = NoticesInMemory()
    renewal = KeyRenewal(keys, notices, FakeClock())
    reloading = Reloading(Settings(), load, lambda _: None)
    return read_settings_again(reloading, renewal, notices, "alice")


def test_reading_again_names_the_key_file_where_it_has_another_key(
    secret: Secret, keys: Keys
) -> None:
    assert read_again(keys, Settings) == ((), ())
    secret.put(NEW)
    assert read_again(keys, Settings) == (("key-file",), ())


def test_settings_with_a_mistake_keep_the_key(secret: Secret, keys: Keys) -> None:
    def mistaken() -> Settings:
        raise UsageError("worker: unknown key", hint="did you mean workers?")

    before = keys.kid
    secret.put(NEW)
    with pytest.raises(UsageError):
        read_again(keys, mistaken)
    assert keys.kid == before
