"""Backups of a live journal, what restoring one leads to, and a journal made anew."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import apsw
import pyrage  # type: ignore[import-untyped] # its stubs are a package of their own
import pytest

from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.core.states import State
from tests.system.daemon import Site, intent, wait_until

COUNTING = 'echo "$name" >> "$top/ledger"'


@pytest.fixture
def keyed(tmp_path: Path) -> Site:
    """A site with an age identity in it, and its recipient beside."""
    site = Site(tmp_path)
    made = pyrage.x25519.Identity.generate()
    (site.top / "identity.txt").write_text(f"# made for a test\n{made}\n")
    (site.top / "recipients.txt").write_text(f"# us\n{made.to_public()}\n")
    site.flags = (*site.flags, "-porch", site.porch(COUNTING))
    return site


def back_up(site: Site, file: str, *more: str) -> dict[str, Any]:
    return told(site.command("backup", file, "-backup-recipients=recipients.txt", "--json", *more))


def restore(site: Site, file: str, *more: str) -> subprocess.CompletedProcess[str]:
    return site.command("restore", file, "-i", "identity.txt", "--json", *more)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def finish(site: Site, *names: str) -> None:
    """Hand intents over, one target each, and work through them."""
    site.handoff.mkdir(exist_ok=True)
    for name in names:
        site.hand_over(f"intent-{name}.json", intent(name))
    done = site.once()
    assert done.returncode == 0, done.stderr


def contents(site: Site, file: str) -> dict[str, bytes]:
    identity = (site.top / "identity.txt").read_text().splitlines()[1]
    plain = pyrage.decrypt(
        (site.top / file).read_bytes(), [pyrage.x25519.Identity.from_str(identity)]
    )
    (site.top / "plain.tar").write_bytes(plain)
    with tarfile.open(site.top / "plain.tar") as tar:
        return {member.name: _read(tar, member) for member in tar}


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member)
    assert content is not None
    return content.read()


def journal_bytes(site: Site) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in site.state.glob("journal.db*")}


# Making one.


def test_a_backup_is_made_while_the_daemon_runs_and_restores_to_what_there_was(
    keyed: Site,
) -> None:
    with keyed.daemon():
        keyed.hand_over("intent-a.json", intent("a"))
        keyed.verdict("intent-a.json")
        made = back_up(keyed, "one.age", "--with-keys")
        assert keyed.is_healthy()
        refused = restore(keyed, "one.age", "--force")
    with keyed.journal() as reader:
        before = reader.summaries()

    assert "one.age" in made["file"]
    assert made["intents"] == 1
    # It names the daemon that holds the folder.
    assert refused.returncode != 0
    assert not list(keyed.state.glob(".backup-*"))
    restored = told(restore(keyed, "one.age", "--force"))
    assert (restored["settled"], restored["adopted"], restored["held"]) == ([], [], [])
    with keyed.journal() as reader:
        assert reader.summaries() == before


def test_a_backup_tells_nothing_to_others_and_carries_keys_only_when_asked(keyed: Site) -> None:
    finish(keyed, "a")
    back_up(keyed, "bare.age")
    back_up(keyed, "full.age", "--with-keys")

    private = {"keys/journal.kek", "keys/signing.pem"}
    assert not private & contents(keyed, "bare.age").keys()
    assert private <= contents(keyed, "full.age").keys()
    assert b"intent-a.json" not in (keyed.top / "full.age").read_bytes()
    assert (keyed.top / "full.age").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("harm", ["no recipient", "no journal", "there already"])
def test_what_cannot_be_backed_up_leaves_no_file(keyed: Site, harm: str) -> None:
    if harm != "no journal":
        finish(keyed, "a")
    if harm == "no recipient":
        (keyed.top / "recipients.txt").write_text("# nobody\n")
    if harm == "there already":
        (keyed.top / "one.age").write_text("mine")

    done = keyed.command("backup", "one.age", "-backup-recipients=recipients.txt")

    assert done.returncode != 0
    assert "hint" in done.stderr.lower() or "\n" in done.stderr.strip()
    left = (keyed.top / "one.age").read_text() if (keyed.top / "one.age").exists() else None
    assert left == ("mine" if harm == "there already" else None)
    assert not list(keyed.top.glob(".*.new"))


def test_backups_are_made_on_a_schedule_and_the_newest_are_kept(keyed: Site) -> None:
    folder = keyed.top / "backups"
    schedule = ("-backup-interval=200ms", "-backup-dir=backups", "-backup-keep=2")
    with keyed.daemon(*schedule, "-backup-recipients=recipients.txt") as daemon:
        keyed.hand_over("intent-a.json", intent("a"))
        keyed.verdict("intent-a.json")
        wait_until(
            lambda: sum("found whole" in text for text in daemon.messages()) >= 4, "four backups"
        )
    files = sorted(folder.iterdir())

    assert len(files) == 2
    assert told(restore(keyed, str(files[-1]), "--force"))["intents"] == 1


@pytest.mark.parametrize("missing", ["-backup-dir=backups", "-backup-recipients=recipients.txt"])
def test_a_schedule_that_cannot_work_stops_the_start(keyed: Site, missing: str) -> None:
    both = {"-backup-dir=backups", "-backup-recipients=recipients.txt"}

    done = keyed.command(*keyed.flags, "-backup-interval=1h", *(both - {missing}))

    assert done.returncode != 0
    assert missing.split("=", maxsplit=1)[0] in done.stderr


# Restoring.


def test_what_ended_after_the_backup_is_not_run_again(keyed: Site) -> None:
    finish(keyed, "a")
    back_up(keyed, "one.age")
    finish(keyed, "b")
    verdicts = {p.name: p.read_bytes() for p in (keyed.handoff / "status").glob("*.status")}

    done = told(restore(keyed, "one.age", "--force"))

    assert len(done["adopted"]) == 1
    # The very same file once more is a duplicate, though the backup never heard of it.
    keyed.hand_over("intent-b.json", intent("b"))
    finish(keyed, "c")
    assert keyed.ledger() == ["intent-a.json", "intent-b.json", "intent-c.json"]
    assert keyed.counts() == {State.PUBLISHED: 3, State.DUPLICATE: 1}
    for name, content in verdicts.items():
        assert (keyed.handoff / "status" / name).read_bytes() == content


def test_what_was_open_and_ended_since_gets_the_end_that_its_verdict_tells(keyed: Site) -> None:
    with keyed.daemon():
        keyed.pause()
        keyed.hand_over("intent-a.json", intent("a"))
        wait_until(lambda: keyed.counts()[State.WAITING] == 1, "it waits")
        back_up(keyed, "one.age")
        keyed.resume()
        keyed.verdict("intent-a.json")

    done = told(restore(keyed, "one.age", "--force"))

    assert len(done["settled"]) == 1
    keyed.command("resume")
    finish(keyed)
    assert keyed.ledger() == ["intent-a.json"]
    assert keyed.counts() == {State.PUBLISHED: 1}


def test_what_may_have_run_is_held_until_an_operator_says_so(keyed: Site) -> None:
    with keyed.daemon():
        keyed.pause()
        keyed.hand_over("intent-a.json", intent("a"))
        wait_until(lambda: keyed.counts()[State.WAITING] == 1, "it waits")
        back_up(keyed, "one.age")
    (held,) = told(restore(keyed, "one.age", "--force"))["held"]
    keyed.command("resume")

    with keyed.daemon():
        keyed.hand_over("intent-b.json", intent("b"))
        keyed.verdict("intent-b.json")
        assert keyed.ledger() == ["intent-b.json"]
        assert keyed.intent_id("intent-a.json") == held
        keyed.command("resume", "--target", "oran-sim/a")
        keyed.verdict("intent-a.json")

    assert keyed.ledger() == ["intent-b.json", "intent-a.json"]


def test_a_restore_that_only_looks_changes_nothing(keyed: Site) -> None:
    finish(keyed, "a")
    back_up(keyed, "one.age")
    finish(keyed, "b")
    before = journal_bytes(keyed)

    refused = restore(keyed, "one.age")
    looked = told(restore(keyed, "one.age", "--force", "--dry-run"))

    assert "state_not_empty" in refused.stderr or "there is a journal" in refused.stderr
    assert (len(looked["adopted"]), looked["dry_run"]) == (1, True)
    assert journal_bytes(keyed) == before
    assert not list(keyed.state.glob(".restore-*"))


@pytest.mark.parametrize("harm", ["altered", "for another", "no backup"])
def test_what_is_no_backup_for_us_is_refused_and_changes_nothing(keyed: Site, harm: str) -> None:
    finish(keyed, "a")
    back_up(keyed, "one.age")
    file = keyed.top / "one.age"
    if harm == "altered":
        data = file.read_bytes()
        file.write_bytes(data[:-2000] + bytes([data[-2000] ^ 1]) + data[-1999:])
    elif harm == "for another":
        (keyed.top / "identity.txt").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    else:
        file.write_bytes(b"not at all")
    before = journal_bytes(keyed)

    done = restore(keyed, "one.age", "--force")

    assert done.returncode != 0
    assert "cannot be decrypted" in done.stderr
    assert journal_bytes(keyed) == before


# A journal made anew.


def test_a_journal_is_rebuilt_from_verdicts_when_its_key_is_lost(keyed: Site) -> None:
    finish(keyed, "a", "b")
    (keyed.state / "keys/journal.kek").unlink()
    refused = keyed.once()
    assert refused.returncode != 0
    assert "state rebuild" in refused.stderr

    done = told(keyed.command("state", "rebuild", "--json"))

    assert len(done["adopted"]) == 2
    assert done["moved_aside"]
    keyed.hand_over("intent-a.json", intent("a"))
    finish(keyed, "c")
    assert keyed.ledger().count("intent-a.json") == 1
    assert keyed.counts() == {State.PUBLISHED: 3, State.DUPLICATE: 1}


def test_a_rebuilt_journal_holds_what_was_claimed_and_has_no_verdict(keyed: Site) -> None:
    with keyed.daemon() as daemon:
        keyed.pause()
        keyed.hand_over("intent-a.json", intent("a"))
        wait_until(lambda: keyed.counts()[State.WAITING] == 1, "it waits")
        daemon.kill()
    for path in keyed.state.glob("journal.db*"):
        path.unlink()

    (held,) = told(keyed.command("state", "rebuild", "--json"))["held"]

    with keyed.daemon():
        keyed.hand_over("intent-b.json", intent("b"))
        keyed.verdict("intent-b.json")
        assert keyed.ledger() == ["intent-b.json"]
        assert keyed.intent_id("intent-a.json") == held
        keyed.command("resume", "--target", "oran-sim/a")
        keyed.verdict("intent-a.json")


def test_row_10_a_forged_verdict_is_not_believed(keyed: Site) -> None:
    finish(keyed, "a")
    path = keyed.verdict_path("intent-a.json")
    path.write_bytes(path.read_bytes().replace(b"success", b"skipped"))
    shutil.rmtree(keyed.state / "audit")

    done = told(keyed.command("state", "rebuild", "--json"))

    assert done["adopted"] == []
    assert [Path(each).name for each in done["not_believed"]] == ["intent-a.json.status"]


def test_row_10_where_a_verdict_was_forged_the_audit_log_tells_and_it_is_written_anew(
    keyed: Site,
) -> None:
    finish(keyed, "a")
    path = keyed.verdict_path("intent-a.json")
    path.write_bytes(path.read_bytes().replace(b"success", b"skipped"))

    done = told(keyed.command("state", "rebuild", "--json"))

    assert done["adopted"] == done["by_audit_log"] == [keyed.intent_id("intent-a.json")]
    finish(keyed)
    assert keyed.verdict("intent-a.json")["status"] == "success"
    assert keyed.command("verify", "--all").returncode == 0


def test_the_commands_of_the_page_about_backups_do_what_it_says(keyed: Site) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/backup.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    making = [line for line in commands if line.startswith("conductor-loop backup")]
    others = [line for line in commands if line not in making]
    with keyed.daemon():
        keyed.hand_over("intent-amf.json", intent("amf"))
        keyed.verdict("intent-amf.json")
        run_lines(keyed, making)

    run_lines(keyed, others)

    assert len(making) == 2
    assert {line.split()[1] for line in others} == {"restore", "list", "resume", "state"}
    assert keyed.counts() == {State.PUBLISHED: 1}


def run_lines(site: Site, lines: list[str]) -> None:
    for line in lines:
        done = site.command(*shlex.split(line)[1:])
        assert done.returncode == 0, (line, done.stderr)


@pytest.fixture
def audited(keyed: Site) -> Site:
    """A site whose audit log goes on in a new file every few records."""
    keyed.flags = (*keyed.flags, "-audit-file-size=4KiB")
    return keyed


def verified(site: Site) -> dict[str, Any]:
    done = site.command("audit", "verify", "--complete", "--json")
    report = dict(json.loads(done.stdout))
    assert (done.returncode, report["faults"]) == (0, []), report["faults"]
    return report


def test_a_lost_state_dir_comes_back_with_its_audit_log_and_tells_the_gap(audited: Site) -> None:
    finish(audited, "a")
    finish(audited, "b")
    made = back_up(audited, "one.age", "--with-keys")
    told_before = verified(audited)["last_seq"]
    finish(audited, "c", "d")
    shutil.rmtree(audited.state)

    done = told(restore(audited, "one.age"))

    assert done["audit_files"] == made["audit_files"] > 1
    # Before a daemon has told of the gap, it is known from the journal.
    assert verified(audited)["last_seq"] == told_before
    finish(audited, "e")
    report = verified(audited)
    assert any("restored" in note for note in report["notes"])
    assert any("were lost with a state dir" in note for note in report["notes"])
    assert (report["first_seq"], len(done["adopted"])) == (1, 2)
    assert sorted(audited.ledger()) == [f"intent-{name}.json" for name in "abcde"]


def test_a_verdict_behind_the_gap_still_betrays_a_cut_tail(audited: Site) -> None:
    finish(audited, "a")
    back_up(audited, "one.age", "--with-keys")
    finish(audited, "b")
    shutil.rmtree(audited.state)
    told(restore(audited, "one.age"))
    finish(audited, *"cdefgh")
    verified(audited)

    files = sorted((audited.state / "audit").glob("*.jsonl"))
    (gap,) = (n for n, path in enumerate(files) if b'"action":"log.gap"' in path.read_bytes())
    for path in files[gap + 1 :]:
        path.unlink()
    cut = json.loads(audited.command("audit", "verify", "--json").stdout)

    assert "tail_cut" in {fault["code"] for fault in cut["faults"]}
    assert any(fault["file"].endswith(".status") for fault in cut["faults"])


def test_an_audit_log_that_is_there_stays(audited: Site) -> None:
    finish(audited, "a")
    back_up(audited, "one.age")
    finish(audited, "b")
    files = {p.name: p.read_bytes() for p in (audited.state / "audit").glob("*.jsonl")}

    assert told(restore(audited, "one.age", "--force"))["audit_files"] == 0

    assert {p.name: p.read_bytes() for p in (audited.state / "audit").glob("*.jsonl")} == files
    finish(audited, "c")
    verified(audited)


def test_a_scheduled_backup_has_the_audit_log_without_a_hole(audited: Site) -> None:
    schedule = ("-backup-interval=20ms", "-backup-dir=backups", "-backup-keep=1000")
    with audited.daemon(*schedule, "-backup-recipients=recipients.txt"):
        for number in range(40):
            audited.hand_over(f"intent-{number}.json", intent(f"t{number}"))
        wait_until(lambda: audited.counts()[State.PUBLISHED] == 40, "all are published")
    backups = sorted((audited.top / "backups").iterdir())

    for file in backups[:: max(1, len(backups) // 5)]:
        held = contents(audited, str(file))
        assert b'"signature":"' in last_line(held)
        assert int(last_line(held).split(b'"seq":')[1].split(b",")[0]) == audit_lines(held)


def test_what_no_signature_covers_yet_is_not_in_a_backup(audited: Site) -> None:
    finish(audited, "a")
    *_, newest = sorted((audited.state / "audit").glob("*.jsonl"))
    whole = newest.read_bytes()
    # A write under way may show whole lines of a batch before the one that is signed.
    newest.write_bytes(whole + 20_000 * b'{"action":"intent.started","seq":999}\n' + b'{"act')
    back_up(audited, "one.age")

    assert contents(audited, "one.age")[f"audit/{newest.name}"] == whole


def test_a_long_audit_log_passes_through_little_memory(audited: Site) -> None:
    finish(audited, "a")
    long, length = audited.state / "audit" / "audit-000000000000.jsonl", 160 << 20
    with long.open("wb") as file:
        for _ in range(160):
            file.write(((1 << 20) - 1) * b" " + b"\n")
    # In KiB; what a process may have of its own (RLIMIT_DATA).
    audited.before = ["sh", "-c", 'ulimit -d 120000; exec "$@"', "sh"]
    made = back_up(audited, "one.age", "--with-keys")
    shutil.rmtree(audited.state)

    assert told(restore(audited, "one.age"))["audit_files"] == made["audit_files"]
    assert long.stat().st_size == length


def last_line(held: dict[str, bytes]) -> bytes:
    *_, last = sorted(name for name in held if name.startswith("audit/"))
    return held[last].rstrip(b"\n").rsplit(b"\n", 1)[-1]


def audit_lines(held: dict[str, bytes]) -> int:
    return sum(data.count(b"\n") for name, data in held.items() if name.startswith("audit/"))


def test_a_new_machine_has_every_result_by_a_backup_and_the_saved_verdicts(
    keyed: Site, tmp_path: Path
) -> None:
    finish(keyed, "a")
    back_up(keyed, "one.age", "--with-keys")
    finish(keyed, "b")
    new = Site(tmp_path / "new")
    for name in ("status", "processed", "failed", ".conductor/audit"):
        shutil.copytree(keyed.handoff / name, new.handoff / name)
    for name in ("identity.txt", "one.age"):
        shutil.copy(keyed.top / name, new.top / name)

    done = told(restore(new, "one.age"))

    assert (len(done["adopted"]), done["held"]) == (1, [])
    finish(new, "a", "b", "c")
    assert new.counts() == {State.PUBLISHED: 3, State.DUPLICATE: 2}
    assert new.command("verify", "--all").returncode == 0
    audited = new.command("audit", "verify")
    assert audited.returncode == 0, audited.stdout


def waiting_in_a_backup(site: Site) -> None:
    """Back up while one intent waits, let it end, and stop."""
    with site.daemon():
        site.pause()
        site.hand_over("intent-a.json", intent("a"))
        wait_until(lambda: site.counts()[State.WAITING] == 1, "it waits")
        back_up(site, "one.age")
        site.resume()
        site.verdict("intent-a.json")


def test_what_ended_is_known_from_the_audit_log_when_its_verdict_is_gone(keyed: Site) -> None:
    waiting_in_a_backup(keyed)
    keyed.verdict_path("intent-a.json").unlink()

    looked = told(restore(keyed, "one.age", "--force", "--dry-run"))
    done = told(restore(keyed, "one.age", "--force"))

    assert looked["by_audit_log"] == done["by_audit_log"] == done["settled"] != []
    assert done["held"] == []
    keyed.command("resume")
    finish(keyed)
    assert keyed.ledger() == ["intent-a.json"]
    assert keyed.verdict("intent-a.json")["status"] == "success"
    assert keyed.names_in("processed") == ["intent-a.json"]


def test_a_claim_that_the_backup_does_not_know_is_known_from_the_audit_log(keyed: Site) -> None:
    finish(keyed, "a")
    back_up(keyed, "one.age")
    finish(keyed, "b")
    intent_id = keyed.intent_id("intent-b.json")
    keyed.verdict_path("intent-b.json").unlink()
    # As it lies when the daemon died between the log and the filing.
    claim = keyed.state / "claimed" / intent_id
    claim.mkdir(exist_ok=True)
    (keyed.handoff / "processed" / "intent-b.json").rename(claim / "intent-b.json")

    done = told(restore(keyed, "one.age", "--force"))

    assert (done["adopted"], done["by_audit_log"], done["held"]) == ([intent_id], [intent_id], [])
    keyed.hand_over("intent-b.json", intent("b"))
    finish(keyed)
    assert keyed.ledger() == ["intent-a.json", "intent-b.json"]
    assert keyed.counts() == {State.PUBLISHED: 2, State.DUPLICATE: 1}
    assert "intent-b.json" in keyed.names_in("processed")


def test_row_26_what_no_signature_covers_ends_no_intent(keyed: Site) -> None:
    waiting_in_a_backup(keyed)
    keyed.verdict_path("intent-a.json").unlink()
    (log,) = (keyed.state / "audit").glob("*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    last = next(n for n, line in enumerate(lines) if b'"intent.published"' in line)
    kept = lines[: last + 1]
    kept[last] = re.sub(rb'"signature":"[^"]*",', b"", kept[last])
    log.write_bytes(b"".join(kept))

    done = told(restore(keyed, "one.age", "--force"))

    assert (done["settled"], done["by_audit_log"], len(done["held"])) == ([], [], 1)


def test_row_25_a_pause_that_is_removed_still_holds_what_may_have_run(keyed: Site) -> None:
    with keyed.daemon():
        keyed.pause()
        keyed.hand_over("intent-a.json", intent("a"))
        wait_until(lambda: keyed.counts()[State.WAITING] == 1, "it waits")
        back_up(keyed, "one.age")
    told(restore(keyed, "one.age", "--force"))
    keyed.command("resume")
    connection = apsw.Connection(str(keyed.state / FILE_NAME))
    connection.execute("DELETE FROM pauses")
    connection.close()

    with keyed.daemon() as daemon:
        keyed.hand_over("intent-b.json", intent("b"))
        keyed.verdict("intent-b.json")
        assert daemon.has_said("rows of the journal beside its intents were changed")

    assert keyed.ledger() == ["intent-b.json"]
    assert "paused: oran-sim/a, by restore" in keyed.command("list").stdout
    assert "security.journal_altered" in keyed.command("audit", "show", "--json").stdout


def test_a_restore_misses_no_anchor_and_its_journal_has_one_again(keyed: Site) -> None:
    finish(keyed, "a")
    back_up(keyed, "one.age")

    done = restore(keyed, "one.age", "--force")

    assert done.returncode == 0
    assert "anchor" not in done.stderr
    assert (keyed.state / f"{FILE_NAME}.anchor").stat().st_size
    assert "anchor" not in keyed.once().stderr
