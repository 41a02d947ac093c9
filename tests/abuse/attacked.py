"""A daemon under attack, and what every refusal must leave behind."""

from __future__ import annotations

from pathlib import Path

from tests.system.daemon import Daemon, Site, Verdict, intent

SECRET = b"the secret that nobody may read"


def assert_refused(site: Site, name: str, body: bytes, code: str) -> Verdict:
    """Filed under failed/ with its bytes intact, with a verdict of this code."""
    verdict = site.verdict(name)
    assert (verdict["status"], verdict["error"]["code"]) == ("failed", code)
    assert (site.handoff / "failed" / name).read_bytes() == body
    assert (site.handoff / "failed" / f"{name}.error.log").exists()
    return verdict


def assert_serves(site: Site, daemon: Daemon, name: str = "intent-after.json") -> None:
    """It is alive, takes the next file as if nothing had happened, and its verdicts verify."""
    assert daemon.is_alive
    site.hand_over(name, intent("after"))
    assert site.verdict(name)["status"] == "success"
    verified = site.command("verify", "--all")
    assert verified.returncode == 0, verified.stdout


def tree(top: Path) -> set[str]:
    """Every path below a folder."""
    return {str(path.relative_to(top)) for path in top.rglob("*")}
