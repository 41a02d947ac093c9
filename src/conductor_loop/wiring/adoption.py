"""Settings that changed under the running daemon, given to the parts that go by them."""

from __future__ import annotations

from collections.abc import Callable

from conductor_loop.conductor.daemon import Conductor
from conductor_loop.conductor.restraint import Restraint
from conductor_loop.operations.vitals import Observer
from conductor_loop.projections.verdicts import Verdicts
from conductor_loop.settings import Settings
from conductor_loop.settings.intake import changed_rules
from conductor_loop.settings.sections import (
    folder_settings,
    policies,
    reader,
    retention,
    service,
)
from conductor_loop.wiring.ground import Ground


def adopting(
    conductor: Conductor,
    ground: Ground,
    observer: Observer,
    verdicts: Verdicts,
    restraint: Restraint,
) -> Callable[[Settings], None]:
    """Make what gives settings to a daemon that runs; only live ones differ from those it has."""

    def adopt(settings: Settings) -> None:
        rules = changed_rules(settings, conductor.intake.rules)
        conductor.adopt(policies(settings, rules), reader(rules))
        conductor.housekeeping.adopt(retention(settings))
        ground.source.adopt(folder_settings(settings))
        observer.adopt(settings)
        restraint.mark = settings.memory_mark()
        verdicts.about = service(settings)

    return adopt
