"""The check of a document against the schema in force, built in or the operator's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from conductor_loop.contracts import schema_of
from conductor_loop.core.contract import keeps_contract
from conductor_loop.core.faults import Fault

if TYPE_CHECKING:
    from conductor_loop.adapters.schema import Check


def check_against(path: str | None) -> Check:
    """The check of the schema that `-schema` names; None: the built-in. Raises CannotStart."""
    if path is None:
        return _built_in
    from conductor_loop.adapters.schema import compile_schema, load_schema

    return compile_schema(load_schema(path))


def _built_in(document: object) -> Sequence[Fault]:
    # The contract asks for all that the built-in schema asks for, and more (tested).
    return () if keeps_contract(document) else _compiled()(document)


@cache
def _compiled() -> Check:
    # Not before a document breaks the contract: it takes 8 MB of memory to say how.
    from conductor_loop.adapters.schema import compile_schema

    return compile_schema(schema_of("intent"))
