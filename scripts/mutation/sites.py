"""Where and how a source file can be mutated: small edits of the kinds of mistakes that people make.

Left alone is what no test should notice: annotations, docstrings, the texts of errors, decorators, and arguments that
only guard against bugs, such as zip's `strict`.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple


class Mutant(NamedTuple):
    """One edit: the characters [start, stop) of a file become `new`; `function` is where, by its qualified name."""

    path: str
    function: str
    line: int
    operator: str
    start: int
    stop: int
    old: str
    new: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """What the edit is called in records, by the text of its lines: it stays when these move."""
        old, new = (_one_line(f"{self.before}{text}{self.after}") for text in (self.old, self.new))
        return f"{self.path} {self.function or '(module)'}: {old} => {new}"

    def apply(self, source: str) -> str:
        """Return the mutated source."""
        return source[: self.start] + self.new + source[self.stop :]


_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult, ast.Div),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
}
_TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
#: Calls whose argument may stand in their place.
_WRAPPERS = {"sorted", "reversed", "set", "abs", "round", "tuple", "list", "int"}
_METHODS = {"strip", "lstrip", "rstrip", "lower", "casefold", "resolve", "copy", "removesuffix", "removeprefix"}
_EMPTY = {"int": "0", "bool": "True", "str": "''", "float": "0.0", "bytes": "b''", "list": "[]", "dict": "{}"}
_UNTESTED_KEYWORDS = {"strict", "encoding", "stacklevel", "daemon"}
_WORD = re.compile(r"[a-z][a-z0-9_.]*")


class _Edit(NamedTuple):
    """What is done to a node: its new text."""

    operator: str
    node: ast.expr | ast.stmt
    new: str


class _Scope(NamedTuple):
    """Where a node stands: the qualified name of its function, "" outside of any; what names inside begin with."""

    function: str
    prefix: str
    returns: ast.expr | None


def find_mutants(path: str, source: str) -> list[list[Mutant]]:
    """Return the places of a file that can be mutated, each with its edits."""
    raw = source.encode()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))

    def offset(line: int, column: int) -> int:
        return len(raw[: starts[line - 1] + column].decode())

    places = []
    for node, scope in _walk(ast.parse(source), _Scope("", "", None)):
        found = []
        for edit in _edit(node, scope):
            start = offset(edit.node.lineno, edit.node.col_offset)
            stop = offset(edit.node.end_lineno or 0, edit.node.end_col_offset or 0)
            old = source[start:stop]
            before = source[source.rfind("\n", 0, start) + 1 : start]
            after = source[stop:].partition("\n")[0]
            one = Mutant(path, scope.function, node.lineno, edit.operator, start, stop, old, edit.new, before, after)
            if edit.new != old and _compiles(one.apply(source)):
                found.append(one)
        if found:
            places.append(list(dict.fromkeys(found)))
    return places


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def _walk(node: ast.AST, scope: _Scope) -> Iterator[tuple[ast.expr | ast.stmt, _Scope]]:
    """Yield the nodes that may be mutated, each with where it stands."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        inner = scope
        if isinstance(node, ast.FunctionDef) and name == "body":
            full = scope.prefix + node.name
            inner = _Scope(full, f"{full}.<locals>.", node.returns)
        elif isinstance(node, ast.ClassDef):
            inner = _Scope("", f"{scope.prefix}{node.name}.", None)
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield child, inner
            if not isinstance(child, ast.JoinedStr | ast.Raise):
                yield from _walk(child, inner)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name == "__all__" or isinstance(node.value, ast.Subscript)  # aliases of types
        case ast.keyword(arg=name):
            return name in _UNTESTED_KEYWORDS
        case ast.Call(func=ast.Name(id=("progress" | "cast" | "TypeVar" | "NewType"))):
            return True
    return False


def _edit(node: ast.expr | ast.stmt, scope: _Scope) -> Iterator[_Edit]:
    """Yield the edits of a node."""
    with suppress(ValueError):  # f-strings that this Python cannot write down
        for operator, new in _edit_statement(node, scope) if isinstance(node, ast.stmt) else _edit_expression(node):
            yield _Edit(operator, node, new)
        match node:
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not _has_opposite(test):
                yield _Edit("negation", test, f"(not ({ast.unparse(test)}))")


def _edit_expression(node: ast.expr) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(ops=[operator]):
            for other in _COMPARISONS[type(operator)]:
                yield "comparison", _changed(node, ops=[other()])
        case ast.BinOp(left=left, right=right) if not (_is_text(left) or _is_text(right)):
            for instead in _ARITHMETIC.get(type(node.op), ()):
                yield "arithmetic", f"({_changed(node, op=instead())})"
        case ast.BoolOp(op=operation, values=values):
            yield "boolean", f"({_changed(node, op=ast.And() if isinstance(operation, ast.Or) else ast.Or())})"
            for kept in (values[1:], values[:-1]):
                yield "boolean", f"({ast.unparse(kept[0] if len(kept) == 1 else ast.BoolOp(operation, kept))})"
        case ast.UnaryOp(operand=operand):
            yield "negation", f"({ast.unparse(operand)})"
        case ast.Constant():
            yield from _edit_constant(node)
        case ast.Subscript(slice=ast.Slice() as part):
            for bound in ("lower", "upper", "step"):
                if getattr(part, bound) is not None:
                    yield "slice", _changed(node, slice=_copy(part, **{bound: None}))
        case ast.Call():
            yield from _edit_call(node)
        case ast.ListComp(generators=[loop]) | ast.SetComp(generators=[loop]) | ast.GeneratorExp(generators=[loop]):
            if loop.ifs:
                yield "filter", _changed(node, generators=[_copy(loop, ifs=loop.ifs[1:])])


def _edit_constant(node: ast.Constant) -> Iterator[tuple[str, str]]:
    match node.value:
        case bool(value):
            yield "constant", str(not value)
        case int(value):
            yield "constant", str(value + 1)
            if value > 0:
                yield "constant", str(value - 1)
        case float(value):
            yield "constant", repr(value + 1.0)
            yield "constant", repr(value / 2 if value else 0.5)
        case str(value) if _WORD.fullmatch(value):
            yield "text", repr(f"{value}_x")
        case bytes(value) if value:
            yield "text", repr(value + b"x")


def _edit_call(node: ast.Call) -> Iterator[tuple[str, str]]:
    for keyword in node.keywords:
        if keyword.arg is not None and keyword.arg not in _UNTESTED_KEYWORDS:
            yield "argument", _changed(node, keywords=[one for one in node.keywords if one is not keyword])
    plain = len(node.args) > 1 and not any(isinstance(one, ast.Starred) for one in node.args[:2])
    match node.func:
        case ast.Name(id=name) if name in _TWINS:
            yield "call", _changed(node, func=ast.Name(_TWINS[name]))
        case ast.Name(id=name) if name in _WRAPPERS and len(node.args) == 1:
            yield "call", f"({ast.unparse(node.args[0])})"
        case ast.Attribute(value=value, attr=name) if name in _METHODS:
            yield "call", ast.unparse(value)
        case ast.Name(id="next") | ast.Attribute(attr="get" | "pop") if len(node.args) == 2:
            yield "argument", _changed(node, args=node.args[:1])
            plain = False
    match node.func:
        case ast.Name(id="isinstance" | "hasattr" | "getattr" | "issubclass" | "min" | "max"):
            plain = False
    if plain:
        yield "arguments", _changed(node, args=[node.args[1], node.args[0], *node.args[2:]])


def _edit_statement(node: ast.stmt, scope: _Scope) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Delete():
            yield "statement", "pass"
        case ast.AugAssign(op=operation) if type(operation) in _ARITHMETIC:
            yield "statement", "pass"
            yield "arithmetic", _changed(node, op=_ARITHMETIC[type(operation)][0]())
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "statement", "pass"
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                yield "return", "return None"
                if isinstance(scope.returns, ast.Name) and scope.returns.id in _EMPTY:
                    yield "return", f"return {_EMPTY[scope.returns.id]}"
        case ast.Continue():
            yield "loop", "break"
        case ast.Break():
            yield "loop", "continue"


def _has_opposite(test: ast.expr) -> bool:
    """Whether the edits of a condition negate it already."""
    return isinstance(test, ast.Compare) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _copy(node: ast.AST, **fields: object) -> ast.AST:
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _changed(node: ast.AST, **fields: object) -> str:
    return ast.unparse(_copy(node, **fields))
