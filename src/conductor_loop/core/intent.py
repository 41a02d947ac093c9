"""What an intent is. How its bytes become one, or faults, stands in `reading.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

LOWEST_PRIORITY, NORMAL_PRIORITY, HIGHEST_PRIORITY = 0, 5, 10
NAMED_PRIORITIES = {"low": 2, "normal": 5, "high": 8, "critical": 10}


class IntentType(StrEnum):
    """What the intent asks for."""

    SCALING = "scaling"
    DEPLOYMENT = "deployment"
    CONFIGURATION = "configuration"


class Target(NamedTuple):
    """The unit of ordering: one workload in one namespace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class NephioContext:
    """Where a `deployment` comes from and where it goes."""

    package_revision: str = ""
    workload_cluster: str = ""
    blueprint_name: str = ""


@dataclass(frozen=True, slots=True)
class Constraints:
    """The bounds that the intent sets itself; already enforced when an `Intent` exists."""

    kpt_package_name: str = ""
    porch_repository: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """One request, checked: every field holds what the contract allows."""

    intent_type: IntentType
    target: Target
    replicas: int
    priority: int = NORMAL_PRIORITY
    timeout: timedelta | None = None
    reason: str = ""
    source: str = ""
    correlation_id: str = ""
    description: str = ""
    constraints: Constraints = Constraints()
    nephio_context: NephioContext = NephioContext()
    metadata: Mapping[str, object] = field(default_factory=dict)
