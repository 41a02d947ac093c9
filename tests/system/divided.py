"""An inbox before several handoffs, and the command that divides it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from conductor_loop.core.distribution import key_of, ordinal_of
from tests.system.daemon import COMMAND, Daemon, Site, wait_until

QUICK = ("-debounce", "10ms", "-period", "100ms", "-log-format", "json")


class Divided(Site):
    """An inbox, in place of the handoff, and the sites of the daemons behind it."""

    def __init__(self, top: Path, count: int = 3) -> None:
        super().__init__(top)
        # Nothing but itself: the distributor is confined to what inbox and handoffs stand in.
        self.handoff = top / "front" / "inbox"
        self.state = self.handoff / ".conductor"
        self.handoff.mkdir(parents=True)
        self.sites = [Site(top / f"site-{n}") for n in range(count)]
        for site in self.sites:
            site.handoff.mkdir(parents=True)

    @property
    def words(self) -> tuple[str, ...]:
        """The command line, but for the flags of a test."""
        to = ",".join(str(site.handoff) for site in self.sites)
        return ("distribute", "-handoff", str(self.handoff), "-to", to, *QUICK)

    def distributed(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Divide what is there."""
        return self.command(*self.words, "-once", *flags)

    @contextlib.contextmanager
    def distributor(self, *flags: str, begins: bool = True) -> Iterator[Daemon]:
        """Run a distributor meanwhile; one that is alive at the end must end in order.

        It divides when the block begins, unless that is not waited for.
        """
        log_file = self.top / f"distributor-{len(list(self.top.glob('distributor-*')))}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [*self.before, *COMMAND, *self.words, *flags],
                stderr=log,
                stdout=log,
                env=self.environment,
            )
        daemon = Daemon(process, log_file)
        try:
            if begins:
                wait_until(lambda: daemon.has_said("dividing") or not daemon.is_alive, "it divides")
            yield daemon
            assert not daemon.is_alive or daemon.stop() == 0, log_file.read_text()
        finally:
            daemon.kill()

    def names_at(self, ordinal: int) -> list[str]:
        """Files that wait for a daemon."""
        return sorted(path.name for path in self.sites[ordinal].handoff.glob("intent-*"))

    def claims(self) -> list[str]:
        """Files on their way."""
        places = self.state.glob("claimed/*")
        return sorted(path.name.partition(".")[2] for path in places)


def place_of(target: str, count: int = 3) -> int:
    """The ordinal of a target."""
    return ordinal_of(key_of("oran-sim", target), count)
