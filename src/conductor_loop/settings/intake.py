"""What the settings say about intents, as the rules that intents are judged by."""

from __future__ import annotations

from conductor_loop.adapters.intent_check import check_against
from conductor_loop.core.contract import SYSTEM_NAMESPACES
from conductor_loop.core.namespaces import NamespacePolicy
from conductor_loop.core.reading import IntakeRules
from conductor_loop.settings.model import Settings


def intake_rules(settings: Settings) -> IntakeRules:
    """With the built-in schema, or the operator's. Raises CannotStart when that is not usable."""
    check = check_against(None if settings.schema is None else str(settings.schema))
    return changed_rules(settings, IntakeRules(check))


def changed_rules(settings: Settings, rules: IntakeRules) -> IntakeRules:
    """The same schema, and for the rest what the settings say."""
    allowed = SYSTEM_NAMESPACES if settings.allow_system_namespaces else frozenset[str]()
    namespaces = NamespacePolicy(settings.allow_namespaces, settings.deny_namespaces)
    return IntakeRules(rules.check_schema, allowed, namespaces, settings.max_priority)
