"""The watch that a daemon keeps beside its work: what is noticed, and what is looked at slowly."""

from __future__ import annotations

from collections.abc import Sequence

from conductor_loop.ports import Clock, Listener, Notices
from conductor_loop.settings import Settings


def watchers(settings: Settings, notices: Notices, clock: Clock) -> Sequence[Listener]:
    """Who listens for what is out of the ordinary; nobody when that is switched off."""
    if not settings.security_enabled:
        return ()
    from conductor_loop.projections.anomalies import Anomalies

    return (Anomalies(notices, clock),)
