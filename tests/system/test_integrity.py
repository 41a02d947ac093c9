"""The slow look: what is no longer as it was signed is noticed, once, and nothing is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conductor_loop.adapters.keys.public import keys_of, read_chain
from conductor_loop.adapters.signed_things import Places, SignedThings
from tests.system.daemon import Site, intent, wait_until
from tests.system.test_noticing import noticed

NAME = "intent-a.json"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site where one intent was published by the built-in publisher."""
    made = Site(tmp_path)
    made.flags = (*made.flags, "-porch", "builtin")
    made.handoff.mkdir()
    made.hand_over(NAME, intent("web"))
    made.once()
    return made


def mismatches(site: Site) -> list[str]:
    keys, _ = keys_of(read_chain(site.state))
    things = SignedThings(Places(site.handoff, site.state, None, site.out), keys)
    seq, found = things.examine(0)
    assert seq == 0
    assert all(things.still(mismatch) for mismatch in found)
    return [mismatch.code for mismatch in found]


def package_file(site: Site) -> Path:
    return next(path for path in sorted(site.out.rglob("*")) if path.is_file())


def edit_verdict(site: Site) -> None:
    verdict = json.loads(site.verdict_path(NAME).read_bytes())
    site.verdict_path(NAME).write_text(json.dumps(verdict | {"message": "fine"}))


def link_verdict(site: Site) -> None:
    copy = site.top / "copy"
    site.verdict_path(NAME).rename(copy)
    site.verdict_path(NAME).symlink_to(copy)


def edit_file(site: Site) -> None:
    (site.handoff / "processed" / NAME).write_bytes(b"{}")


def link_package(site: Site) -> None:
    copy = site.top / "copy"
    place = package_file(site).parent
    place.rename(copy)
    place.symlink_to(copy)


CHANGES: list[tuple[Callable[[Site], object], str]] = [
    (edit_verdict, "verdict_altered"),
    (link_verdict, "verdict_altered"),
    (lambda site: site.verdict_path(NAME).unlink(), "verdict_missing"),
    (edit_file, "file_altered"),
    (lambda site: (site.handoff / "processed" / NAME).unlink(), "file_missing"),
    (lambda site: package_file(site).write_bytes(b"x"), "package_altered"),
    (lambda site: package_file(site).unlink(), "package_missing"),
    (link_package, "package_altered"),
]


def test_what_nobody_touched_is_as_it_was_signed(site: Site) -> None:
    assert mismatches(site) == []


@pytest.mark.parametrize(("change", "code"), CHANGES)
def test_whatever_is_changed_is_found(
    site: Site, change: Callable[[Site], object], code: str
) -> None:
    change(site)

    assert code in set(mismatches(site))


def test_a_verdict_that_somebody_signed_anew_with_our_key_differs_from_the_journal(
    site: Site,
) -> None:
    from conductor_loop.adapters.keys.store import key_in_use
    from conductor_loop.core.verdict import encode_verdict, signed_verdict

    verdict = json.loads(site.verdict_path(NAME).read_bytes())
    del verdict["signature"]
    verdict["message"] = "Processed by somebody else"
    keys = key_in_use(site.state)
    forged = encode_verdict(signed_verdict(verdict, keys.kid, keys.sign))
    site.verdict_path(NAME).write_bytes(forged)

    assert mismatches(site) == ["verdict_differs"]


def test_the_package_of_an_older_intent_of_the_target_is_not_looked_for(site: Site) -> None:
    site.hand_over("intent-b.json", intent("web", replicas=7))
    site.once()

    assert mismatches(site) == []


def test_a_name_handed_over_twice_has_two_verdicts_that_are_both_looked_at(site: Site) -> None:
    site.hand_over(NAME, intent("web", replicas=7))
    site.once()
    assert mismatches(site) == []
    (old,) = (site.handoff / "status/history").iterdir()
    old.write_bytes(old.read_bytes() + b" x")

    assert mismatches(site) == ["verdict_altered"]


def test_a_running_daemon_tells_each_change_once(site: Site) -> None:
    edit_file(site)
    with site.daemon("-integrity-interval", "20ms"):
        wait_until(lambda: "file_altered" in codes(site), "notice")
        edit_verdict(site)
        wait_until(lambda: "verdict_altered" in codes(site), "second notice")

    assert codes(site).count("file_altered") == 1


def test_row_26_a_finished_audit_file_that_is_edited_under_the_daemon_is_an_alert(
    site: Site,
) -> None:
    with site.daemon("-integrity-interval", "20ms", "-audit-file-age", "1ms"):
        finished = min((site.state / "audit").glob("*.jsonl"))
        site.hand_over("intent-b.json", intent("other"))
        site.wait_for_final(2)
        finished.write_bytes(finished.read_bytes().replace(b"intent-a", b"intent-z"))
        wait_until(lambda: "audit_altered" in codes(site), "notice")

    (alert,) = [notice for notice in noticed(site) if notice.code == "audit_altered"]
    assert (alert.severity, alert.subject) == ("critical", finished.name)


def test_it_can_be_switched_off(site: Site) -> None:
    edit_file(site)
    with site.daemon("-integrity-interval", "0"):
        site.hand_over("intent-b.json", intent("other"))
        site.wait_for_final(2)

    assert "file_altered" not in codes(site)


def codes(site: Site) -> list[str]:
    return [notice.code for notice in noticed(site)]
