"""The forensics bundle: whole, in order, signed, and blind to links."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.system.daemon import Site, intent

BUNDLE = ("forensics", "bundle", "--since")
LONG_AGO, FAR_AHEAD = "2020-01-01", "2999-01-01T00:00:00Z"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with a verdict, and a symlink to a secret in quarantine."""
    made = Site(tmp_path)
    made.flags = (*made.flags, "-porch", "builtin")
    made.handoff.mkdir()
    (tmp_path / "secret").write_text("hunter2")
    made.hand_over("intent-a.json", intent("web"))
    os.symlink(tmp_path / "secret", made.handoff / "intent-link.json")
    made.once()
    return made


def unpacked(site: Site, since: str = LONG_AGO, name: str = "b.tar.gz") -> dict[str, bytes]:
    done = site.command(*BUNDLE, since, "--output", name)
    assert done.returncode == 0, done.stderr
    files = {}
    with tarfile.open(site.top / name) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            files[member.name] = content.read()
    return files


def test_the_manifest_is_signed_and_tells_the_digest_of_every_file(site: Site) -> None:
    files = unpacked(site)
    (site.top / "manifest.json").write_bytes(files["manifest.json"])
    listed = {f["path"]: f["sha256"] for f in json.loads(files.pop("manifest.json"))["files"]}

    assert site.command("verify", "manifest.json").returncode == 0
    assert listed == {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    assert {"audit.jsonl", "notices.jsonl", "status/intent-a.json.status"} <= set(listed)


def test_an_altered_manifest_is_refused(site: Site) -> None:
    manifest = unpacked(site)["manifest.json"].replace(b'"size": ', b'"size": 1', 1)
    (site.top / "manifest.json").write_bytes(manifest)

    assert site.command("verify", "manifest.json").returncode == 8


def test_a_quarantined_symlink_is_listed_and_not_followed(site: Site) -> None:
    files = unpacked(site)

    assert any(path.endswith("/intent-link.json.unreadable") for path in files)
    assert not any(b"hunter2" in data for data in files.values())


def test_a_quarantined_symlink_is_told_with_where_it_leads(site: Site) -> None:
    files = unpacked(site)
    (told,) = [data for path, data in files.items() if path.endswith(".json.unreadable")]

    assert b"kind: symlink\n" in told
    assert f"target: {site.top / 'secret'}\n".encode() in told


def test_a_quarantined_fifo_is_told_by_its_kind(site: Site) -> None:
    os.mkfifo(site.handoff / "intent-pipe.json")
    site.once()
    files = unpacked(site)

    (told,) = [data for path, data in files.items() if path.endswith("pipe.json.unreadable")]
    assert b"kind: FIFO\n" in told
    assert b"target" not in told


def test_a_rejected_original_is_packed_with_its_error_log(site: Site) -> None:
    site.hand_over("intent-bad.json", b'{"intent_type": "scaling", "intent_type": 1}')
    site.once()
    files = unpacked(site)

    assert files["failed/intent-bad.json"] == b'{"intent_type": "scaling", "intent_type": 1}'
    log = site.handoff / "failed" / "intent-bad.json.error.log"
    assert files["failed/intent-bad.json.error.log"] == log.read_bytes()


def test_an_original_that_is_too_large_is_left_out_and_told(site: Site) -> None:
    staged = site.top / "large"
    staged.touch()
    os.truncate(staged, 17 << 20)
    os.rename(staged, site.handoff / "intent-large.json")
    site.once()
    done = site.command(*BUNDLE, LONG_AGO, "--output", "told.tar.gz")
    files = unpacked(site)

    assert "left-out.txt" in done.stdout
    assert files["left-out.txt"] == b"17825792 bytes: failed/intent-large.json\n"
    assert "failed/intent-large.json" not in files
    assert "failed/intent-large.json.error.log" in files


def test_two_bundles_differ_in_nothing_but_the_manifest(site: Site) -> None:
    one, other = unpacked(site), unpacked(site, name="c.tar.gz")

    assert list(one) == list(other)
    assert {k for k in one if one[k] != other[k]} <= {"manifest.json"}


def test_what_is_older_is_left_out(site: Site) -> None:
    files = unpacked(site, FAR_AHEAD)

    assert set(files) == {"audit.jsonl", "notices.jsonl", "manifest.json"}
    assert files["audit.jsonl"] == b""


def test_a_dry_run_lists_and_writes_nothing(site: Site) -> None:
    listed = site.command(*BUNDLE, LONG_AGO, "--dry-run").stdout

    assert "status/intent-a.json.status" in listed
    assert not (site.top / "forensics.tar.gz").exists()


def test_the_bundle_is_the_callers_alone_and_replaces_nothing(site: Site) -> None:
    unpacked(site)

    assert (site.top / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    assert site.command(*BUNDLE, LONG_AGO, "--output", "b.tar.gz").returncode == 2
