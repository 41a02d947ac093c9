"""Where the source declares codes of errors and faults: each with its message and its hint."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "conductor_loop"
UNKNOWN = "…"
"""Stands for what is filled in when the program runs."""
OR = "\x1f"
"""Stands between texts of which the program takes one."""
# Where code, message and hint stand among the arguments of what is called.
_POSITIONS = {
    "Fault": (0, 1, 2),
    "Failure": (1, 2, 3),
    "_Meaning": (1, 2, 3),
    "refused": (0, 1, 2),
    "_refused": (0, 1, 2),
    "Broken": (0, 1, 2),
    "Finding": (0, 1, 9),
    "_at": (2, 3, 4),
}
# `doctor` and the compliance report have findings of their own, about other things.
_ONLY_IN = {"Finding": ("core/audit/", "operations/audit_proof")}
_GENERAL = {"ConductorError", "UsageError", "CannotStart"}
"""Raised in so many places that their meaning says more than their messages."""
_MOST_ALTERNATIVES = 3
_CODE = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Declared:
    """One place in the source that names a code."""

    code: str
    form: str
    """What is made there: `Fault`, `CannotStart`, ..."""
    message: str
    hint: str
    kind: str
    """The `FailureKind` of a failed attempt, in lower case; empty for everything else."""
    module: str
    """Relative to the source, such as `core/jws.py`."""


@cache
def declared_codes() -> tuple[Declared, ...]:
    """Every place, module by module in the order of their names, each from top to bottom."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in _modules()}
    classes = {
        node.name: code
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and (code := _assigned(node.body).get("code"))
    }
    return tuple(
        declared
        for path, tree in trees.items()
        for declared in _Module(path.relative_to(SOURCE).as_posix(), tree, classes).declared()
    )


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


class _Module:
    """One module of the source, read for what it declares."""

    def __init__(self, name: str, tree: ast.Module, classes: Mapping[str, str]) -> None:
        self._name = name
        self._tree = tree
        self._classes = {k: code for k, code in classes.items() if k not in _GENERAL}
        self._wrappers = dict(_wrappers(tree))

    def declared(self) -> Iterator[Declared]:
        """See `declared_codes`."""
        return self._in_block(self._tree.body, _assigned(self._tree.body))

    def _in_block(self, body: list[ast.stmt], scope: Mapping[str, str]) -> Iterator[Declared]:
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = {**scope, **_assigned(list(_statements(statement)))}
                yield from self._in_calls(statement, inner)
            elif isinstance(statement, ast.ClassDef):
                yield from self._in_class(statement)
                yield from self._in_block(statement.body, scope)
            else:
                yield from self._in_calls(statement, scope)

    def _in_class(self, made: ast.ClassDef) -> Iterator[Declared]:
        code = _assigned(made.body).get("code")
        if code is not None and made.name not in self._classes:
            meaning = " ".join((ast.get_docstring(made) or "").split("\n\n")[0].split())
            yield Declared(code, made.name, meaning, "", "", self._name)

    def _in_calls(self, root: ast.AST, scope: Mapping[str, str]) -> Iterator[Declared]:
        calls = [node for node in ast.walk(root) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            yield from self._in_call(call, scope)

    def _in_call(self, call: ast.Call, scope: Mapping[str, str]) -> Iterator[Declared]:
        form = getattr(call.func, "id", getattr(call.func, "attr", ""))
        named: dict[str | None, ast.expr] = {word.arg: word.value for word in call.keywords}
        code, at = self._form(form)
        given: dict[str | None, ast.expr] = {
            name: call.args[i] for name, i in at.items() if i < len(call.args)
        }
        texts = {name: _said(node, scope) for name, node in (given | named).items()}
        message, hint = texts.get("message", ""), texts.get("hint", "")
        for one in texts.get("code", code).split(OR):
            if _CODE.fullmatch(one):
                yield Declared(one, form, message, hint, _kind(call, named), self._name)

    def _form(self, form: str) -> tuple[str, Mapping[str, int]]:
        """The code that a call of this has by itself, and where its arguments stand."""
        if form in self._wrappers:
            return self._wrappers[form]
        if form in _POSITIONS and self._name.startswith(_ONLY_IN.get(form, "")):
            return "", dict(zip(("code", "message", "hint"), _POSITIONS[form], strict=True))
        return self._classes.get(form, ""), {"message": 0}


def _wrappers(tree: ast.Module) -> Iterator[tuple[str, tuple[str, Mapping[str, int]]]]:
    """Functions that give a code to the message, and the hint, which they are called with."""
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        words = [argument.arg for argument in function.args.args]
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            named = {word.arg: word.value for word in node.keywords}
            code = named.get("code")
            if isinstance(code, ast.Constant):
                parts = (("message", node.args[0]), ("hint", named.get("hint")))
                at = {
                    part: words.index(value.id)
                    for part, value in parts
                    if isinstance(value, ast.Name) and value.id in words
                }
                if "message" in at:
                    yield function.name, (str(code.value), at)


def _kind(call: ast.Call, named: Mapping[str | None, ast.expr]) -> str:
    node = named.get("kind", call.args[0] if call.args else None)
    name = getattr(node, "attr", getattr(node, "id", "")).strip("_")
    return name.lower() if name.isupper() else ""


def _statements(function: ast.AST) -> Iterator[ast.stmt]:
    return (node for node in ast.walk(function) if isinstance(node, ast.stmt))


def _assigned(body: list[ast.stmt]) -> dict[str, str]:
    """What names stand for that are given texts here; several texts are alternatives."""
    found: dict[str, list[str]] = {}
    for statement in body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            text = _said(statement.value, {})
            if text.strip(UNKNOWN + " "):
                found.setdefault(statement.targets[0].id, []).append(text)
    return {name: _one_of(texts) for name, texts in found.items()}


def _one_of(texts: list[str]) -> str:
    different = list(dict.fromkeys(texts))
    return OR.join(different) if len(different) <= _MOST_ALTERNATIVES else UNKNOWN


def _said(node: ast.expr, scope: Mapping[str, str]) -> str:
    """The text that an expression gives, as far as it can be told without running it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_said(part, scope) for part in values)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _said(left, scope) + _said(right, scope)
        case ast.IfExp(body=first, orelse=second):
            return _one_of([_said(first, scope), _said(second, scope)])
        case ast.BoolOp(values=values):
            return next((text for one in values if (text := _said(one, scope)) != UNKNOWN), UNKNOWN)
        case ast.Name(id=name):
            return scope.get(name, UNKNOWN)
    return UNKNOWN
