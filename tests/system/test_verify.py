"""Verdicts that prove themselves: to the command, and to jq and openssl alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conductor_loop.adapters.keys.formats import jwk, private_pem
from conductor_loop.core.events import Noticed
from conductor_loop.core.verdict import encode_verdict, signed_verdict
from tests.signing import STRANGER
from tests.system.daemon import Site, intent

PAGE = Path(__file__).parents[2] / "docs" / "verify.md"
NAME, OTHER = "intent-scale-up-001.json", "intent-other.json"
ALONE = ("sh", "jq", "openssl", "cat", "test", "wc", "tr", "base64", "tail", "printf")
"""What the commands of the page need, so that nothing of ours can help."""
Document = dict[str, Any]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handoff folder in which two intents have run."""
    site = Site(tmp_path_factory.mktemp("worked"))
    site.hand_over_all({NAME: intent("amf"), OTHER: intent("smf")})
    assert site.once().returncode == 0
    return site.handoff


@pytest.fixture
def site(tmp_path: Path, worked: Path) -> Site:
    """A copy of it, to do with as one likes."""
    shutil.copytree(worked, tmp_path / "handoff")
    return Site(tmp_path)


def changed(site: Site, change: Callable[[Document], object], name: str = NAME) -> None:
    """Rewrite a verdict as somebody would who can write to the folder."""
    path = site.verdict_path(name)
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document, indent=2))


def codes(site: Site, *words: str) -> list[str]:
    """What `verify --all` finds wrong, and its exit status says so."""
    done = site.command("verify", "--all", "--json", *words)
    report = json.loads(done.stdout)
    found = [fault["code"] for one in report["files"] for fault in one["faults"]]
    found += [fault["code"] for fault in report["custody_faults"]]
    assert done.returncode == (8 if found else 0), done.stderr
    assert report["ok"] is not bool(found)
    return found


def kid(site: Site) -> str:
    return str(site.asked("keys", "show")["keys"][0]["kid"])


# The command.


def test_a_verdict_that_was_left_alone_is_good(site: Site) -> None:
    done = site.command("verify", f"handoff/status/{NAME}.status")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"handoff/status/{NAME}.status: good, signed by {kid(site)}",
        "1 good, 0 not",
    ]


def test_what_is_wrong_is_told_for_each_file(site: Site) -> None:
    changed(site, lambda document: document.update(status="failed"))
    done = site.command("verify", "--all")
    assert done.returncode == 8
    assert f"handoff/status/{NAME}.status: NOT GOOD\n" in done.stdout
    assert "[signature_wrong]" in done.stdout
    assert done.stdout.endswith("1 good, 1 not\n")


def test_an_older_verdict_of_a_name_is_verified_too(site: Site) -> None:
    site.hand_over(NAME, intent("amf", replicas=2))
    site.once()
    assert codes(site) == []
    (older,) = site.names_in("status/history")
    path = site.handoff / "status" / "history" / older
    path.write_text(path.read_text().replace("success", "failed"))
    assert codes(site) == ["signature_wrong"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda document: document.update(message="all is well"), "signature_wrong"),
        (lambda document: document.update(approved_by="alice"), "signature_wrong"),
        (lambda document: document.pop("attempts"), "signature_wrong"),
        (lambda document: document.pop("signature"), "unsigned"),
        (lambda document: document.update(signature="e30"), "signature_malformed"),
        (lambda document: document.update(worker_id=0.0), "profile_fraction"),
    ],
)
def test_what_was_altered_is_refused(
    site: Site, change: Callable[[Document], object], code: str
) -> None:
    changed(site, change)
    assert codes(site) == [code]


def test_the_signature_of_another_verdict_is_refused(site: Site) -> None:
    taken = site.verdict(OTHER)["signature"]
    changed(site, lambda document: document.update(signature=taken))
    assert codes(site) == ["signature_wrong"]


def test_row_10_a_whole_verdict_copied_over_another_ones_name_is_refused(site: Site) -> None:
    shutil.copy(site.verdict_path(OTHER), site.verdict_path(NAME))
    assert codes(site) == ["verdict_misplaced"]


def test_row_23_an_earlier_verdict_put_back_over_the_newest_one_is_refused(site: Site) -> None:
    earlier = site.verdict_path(NAME).read_bytes()
    site.hand_over(NAME, intent("amf", replicas=2))
    site.once()
    assert codes(site) == []
    site.verdict_path(NAME).write_bytes(earlier)
    assert codes(site) == ["verdict_outdated"]


def test_row_10_a_verdict_that_a_stranger_forged_and_signed_is_refused(site: Site) -> None:
    document = site.verdict(NAME)
    del document["signature"]
    forged = signed_verdict({**document, "status": "failed"}, STRANGER.kid, STRANGER.sign)
    site.verdict_path(NAME).write_bytes(encode_verdict(forged))
    assert codes(site) == ["unknown_kid"]


def test_row_10_a_verdict_that_is_a_link_is_refused_unread(site: Site) -> None:
    path = site.verdict_path(NAME)
    path.rename(site.top / "elsewhere")
    path.symlink_to(site.top / "elsewhere")
    assert codes(site) == ["not_a_regular_file"]


@pytest.mark.parametrize("folder", ["processed", "failed"])
def test_a_file_that_no_longer_has_the_bytes_of_its_verdict_is_told(
    site: Site, folder: str
) -> None:
    bad = "intent-bad.json"
    site.hand_over(bad, b"{}")
    site.once()
    name = {"processed": NAME, "failed": bad}[folder]
    (site.handoff / folder / name).write_bytes(intent("amf", replicas=99))
    assert codes(site) == ["intent_altered"]


def test_a_file_that_is_not_there_any_more_is_no_fault(site: Site) -> None:
    (site.handoff / "processed" / NAME).unlink()
    assert codes(site) == []


def test_a_file_under_the_name_of_one_that_is_gone_is_not_taken_for_it(site: Site) -> None:
    """The first file has the plain name, the second its id in it; then the second goes."""
    site.hand_over(NAME, intent("amf", replicas=2))
    site.once()
    own = site.handoff / "processed" / f"intent-scale-up-001.{site.intent_id(NAME)}.json"
    own.unlink()
    assert codes(site) == []


def test_a_retried_intent_has_no_file_of_its_own_to_compare(site: Site) -> None:
    name = "intent-late.json"
    site.hand_over(name, intent("upf"))
    site.flags = (*site.flags, "-porch", site.porch("[ -e $top/go ]"), "-max-attempts", "1")
    site.once()
    (site.top / "go").touch()
    assert site.command("retry", name).returncode == 0
    site.once()
    assert site.verdict(name)["status"] == "success"
    assert codes(site) == []


def test_verdicts_copied_elsewhere_verify_by_exported_keys(site: Site, tmp_path: Path) -> None:
    exported = tmp_path / "trusted.jwks"
    exported.write_text(site.command("keys", "export").stdout)
    copy = tmp_path / "far" / f"{NAME}.status"
    copy.parent.mkdir()
    shutil.copy(site.verdict_path(NAME), copy)
    words = ("verify", str(copy), "--keys", str(exported), "-handoff", "nowhere")
    assert site.command(*words).returncode == 0


def test_by_other_keys_nothing_is_good(site: Site, tmp_path: Path) -> None:
    exported = tmp_path / "stranger.jwks"
    exported.write_text(json.dumps({"keys": [jwk(STRANGER.public)]}))
    assert codes(site, "--keys", str(exported)) == ["unknown_kid", "unknown_kid"]


def test_whoever_holds_the_first_key_alone_verifies_what_later_ones_signed(
    site: Site, tmp_path: Path
) -> None:
    first = tmp_path / "first.pem"
    first.write_text(site.command("keys", "export", "--format", "pem").stdout)
    site.command("keys", "rotate")
    site.hand_over("intent-later.json", intent("upf"))
    site.once()
    assert codes(site, "--keys", str(first)) == []


def test_row_27_a_broken_chain_of_custody_makes_nothing_good(site: Site) -> None:
    path = site.state / "keys" / "custody.jsonl"
    path.write_text(path.read_text().replace('"reason":"first"', '"reason":"rotated"'))
    assert codes(site) == ["custody_broken"]
    shown = site.command("keys", "show")
    assert shown.returncode == 8
    assert "[custody_broken]" in shown.stdout


def test_row_27_after_the_loss_of_a_key_verify_says_that_nobody_vouches_for_the_new_one(
    site: Site,
) -> None:
    (site.state / "keys" / "signing.pem").unlink()
    done = site.once()
    assert "is missing: made a new one" in done.stderr
    with site.journal() as reader:
        noticed = [entry.event for entry in reader.after(0, 1000)]
    assert "key_lost" in [event.code for event in noticed if isinstance(event, Noticed)]
    done = site.command("verify", "--all")
    assert done.returncode == 0
    assert f"note: {kid(site)} took over" in done.stdout
    assert "nobody" in site.command("keys", "show").stdout


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--all", f"handoff/status/{NAME}.status"),
        ("--all", "--keys", "none.jwks"),
        ("--all", "-handoff", "nowhere"),
    ],
)
def test_what_cannot_be_verified_for_want_of_files_or_keys_is_a_usage_error(
    site: Site, words: tuple[str, ...]
) -> None:
    done = site.command("verify", *words)
    assert done.returncode == 2
    assert "hint: " in done.stderr


def test_a_file_that_is_not_there_is_not_good(site: Site) -> None:
    done = site.command("verify", "none.status")
    assert done.returncode == 8
    assert "[unreadable]" in done.stdout


# Keys by command.


def test_a_rotation_under_a_running_daemon_holds_from_the_next_verdict_on(site: Site) -> None:
    with site.daemon() as daemon:
        before = kid(site)
        reply = site.asked("keys", "rotate")
        assert reply["daemon_pid"] == daemon.pid
        site.hand_over("intent-later.json", intent("upf"))
        site.verdict("intent-later.json")
        report = site.asked("verify", "--all")
        signers = {Path(one["file"]).name: one["kid"] for one in report["files"]}
        assert report["ok"]
        assert signers[f"{NAME}.status"] == before
        assert signers["intent-later.json.status"] == reply["kid"] != before
    assert codes(site) == []
    with site.journal() as reader:
        noticed = [entry.event for entry in reader.after(0, 1000)]
    (event,) = (e for e in noticed if isinstance(e, Noticed) and e.code == "key_rotated")
    assert (event.subject, event.details["previous"]) == (reply["kid"], before)


def test_a_given_key_signs_and_cannot_be_rotated_here(site: Site, tmp_path: Path) -> None:
    given = tmp_path / "given.pem"
    given.write_bytes(private_pem(bytes(31) + b"\7"))
    given.chmod(0o440)
    site.hand_over("intent-later.json", intent("upf"))
    site.once("-key-file", str(given))
    assert codes(site) == []
    refused = site.command("keys", "rotate")
    assert refused.returncode == 1
    assert "from -key-file" in refused.stderr


def test_row_27_the_daemon_refuses_a_key_that_others_can_read(site: Site) -> None:
    (site.state / "keys" / "signing.pem").chmod(0o644)
    done = site.once()
    assert done.returncode == 1
    assert "others may read or change the signing key" in done.stderr
    assert "hint: " in done.stderr


def test_one_key_is_exported_by_its_name(site: Site) -> None:
    old = kid(site)
    site.command("keys", "rotate")
    assert len(json.loads(site.command("keys", "export").stdout)["keys"]) == 2
    (only,) = json.loads(site.command("keys", "export", "--kid", old).stdout)["keys"]
    assert only["kid"] == old
    assert site.command("keys", "export", "--kid", "nobody").returncode == 2


# jq and openssl, by the very commands of the page.


def commands_for(purpose: str) -> str:
    """The commands that stand on the page behind a mark."""
    found = re.search(rf"<!-- {purpose} -->\n```sh\n(.*?)```\n", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def shell(site: Site, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """A shell beside the handoff folder that has jq, openssl and the like, and nothing of ours."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in ALONE:
        found = shutil.which(command)
        assert found is not None
        (folder / command).symlink_to(found)
    exported = site.command(*commands_for("exported").split(">")[0].split()[1:])
    (site.top / "key.pem").write_text(exported.stdout)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [folder / "sh", "-e", "-c", script],
            cwd=site.top,
            env={"PATH": os.fspath(folder)},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.needs("jq", "openssl")
def test_the_commands_of_the_page_verify_a_verdict(
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = shell(commands_for("verified"))
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout


@pytest.mark.needs("jq", "openssl")
def test_the_commands_of_the_page_compute_the_name_of_a_key(
    site: Site, shell: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    assert shell(commands_for("named")).stdout.strip() == kid(site)


def _with_other_header(document: Document, **changes: str) -> None:
    import base64

    header, _, signature = document["signature"].split(".")
    members = json.loads(base64.urlsafe_b64decode(header + "=="))
    raw = json.dumps({**members, **changes}, separators=(",", ":")).encode()
    encoded = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    document["signature"] = f"{encoded}..{signature}"


@pytest.mark.needs("jq", "openssl")
@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(status="failed"),
        lambda document: document["attempts"][0].update(number=2),
        lambda document: document.update(approved_by="alice"),
        lambda document: document.pop("attempts"),
        lambda document: document.pop("signature"),
        lambda document: _with_other_header(document, alg="none"),
        lambda document: _with_other_header(document, alg="HS256"),
        lambda document: _with_other_header(document, typ="JWT"),
        lambda document: _with_other_header(document, kid="x"),
        lambda document: _with_other_header(document, crit="x"),
    ],
)
def test_the_commands_of_the_page_refuse_what_was_altered(
    site: Site,
    shell: Callable[[str], subprocess.CompletedProcess[str]],
    change: Callable[[Document], object],
) -> None:
    changed(site, change)
    done = shell(commands_for("verified"))
    assert done.returncode != 0
    assert "Verified Successfully" not in done.stdout


@pytest.mark.needs("jq", "openssl")
@pytest.mark.parametrize(
    "forged", ['"status": "failed",', '"attempts": [],', '"attempts": [{}, {"number": 9}],']
)
def test_the_commands_of_the_page_refuse_a_field_that_stands_twice(
    site: Site, shell: Callable[[str], subprocess.CompletedProcess[str]], forged: str
) -> None:
    path = site.verdict_path(NAME)
    path.write_text(path.read_text().replace("{", "{" + forged, 1))
    assert shell(commands_for("verified")).returncode != 0
    assert codes(site) == ["json_duplicate_key"]


@pytest.mark.needs("jq", "openssl")
def test_the_commands_of_the_page_refuse_another_key(
    site: Site, shell: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    site.command("keys", "rotate")
    exported = site.command("keys", "export", "--format", "pem")
    (site.top / "key.pem").write_text(exported.stdout)
    assert shell(commands_for("verified")).returncode != 0


@pytest.mark.needs("jq")
def test_jq_writes_the_canonical_form_of_a_verdict_with_an_odd_name(site: Site) -> None:
    from conductor_loop.core.canonical import canonical

    name = 'intent-ä\u2028€😀"\\\x7f\n.json'
    site.hand_over(name, b"{}")
    site.once()
    (path,) = (p for p in (site.handoff / "status").glob("*.status") if "😀" in p.name)
    written = subprocess.run(["jq", "-cjS", "del(.signature)", path], capture_output=True)
    document = json.loads(path.read_bytes())
    del document["signature"]
    assert written.stdout == canonical(document)
    assert codes(site) == []
