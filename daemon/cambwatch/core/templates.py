"""Templates of webhook bodies: a bounded subset of Jinja, compiled once, with errors located by line."""

import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import filters, nodes, pass_context, pass_environment
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from cambwatch.core.model import Json
from cambwatch.core.text import one_line

MAX_WORK = 1 << 20  # what one rendering may cost: characters made, and TURN for each turn of a loop
ITERATION_COST = 50
LONGEST_RANGE = 10_000
LARGEST_NUMBER = 2**63

WORK_LIMIT_KEY = "the work limit"
"""The name under which the values of a rendering hold its Allowance: with a space, so that no template can say it."""

_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length",
    "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "select", "selectattr", "sort",
    "sum", "title", "trim", "truncate", "unique", "upper",
)  # fmt: skip
_METHODS: Mapping[type, frozenset[str]] = {
    dict: frozenset({"get", "items", "keys", "values"}),
    str: frozenset(
        {"capitalize", "count", "endswith", "find", "isalnum", "isalpha", "isdigit", "lower", "lstrip", "partition",
         "removeprefix", "removesuffix", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith",
         "strip", "title", "upper"}
    ),
    LoopContext: frozenset({"cycle", "changed"}),
}  # fmt: skip
_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.Block: "block",
    nodes.Extends: "extends",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Pow: "**",
}


class WorkLimit:
    """What one rendering may cost."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, cost: int) -> None:
        """Take *cost* from it; raises SecurityError where it is used up."""
        self._left -= cost
        if self._left < 0:
            raise SecurityError("takes too much work: too many iterations of loops, or too much text")


def bounded(tree: nodes.Template, language: "TemplateLanguage") -> nodes.Template:
    """*tree* with its bounds; raises TemplateSyntaxError at what has none."""
    bound: nodes.Template = _Bounds().visit(tree)
    bound.set_environment(language)
    return bound


class _Bounds(NodeTransformer):
    """Refuses what has no bound, and puts the allowance into loops and `~`, which Jinja has no hook for."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if word := _REFUSED.get(type(node)):
            raise jinja2.TemplateSyntaxError(f"{word} is not available here", node.lineno)
        return super().generic_visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - by the name of the node
        if node.recursive:
            raise jinja2.TemplateSyntaxError("a recursive loop is not available here", node.lineno)
        written = sum(len(data.data) for part in node.body for data in _parts(part, nodes.TemplateData))
        node.iter = _filter(node.iter, "each iteration", nodes.Const(ITERATION_COST + written))
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        return self.generic_visit(_filter(nodes.List(node.nodes, lineno=node.lineno), "concatenate"))

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802
        """What is called is a method, whatever keys the data has: a label may be named `items`."""
        if isinstance(node.node, nodes.Getattr):
            node.node = _filter(node.node.node, "method", nodes.Const(node.node.attr))
        return self.generic_visit(node)


def _parts(node: nodes.Node, kind: type[Any]) -> Iterator[Any]:
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)


def _filter(node: nodes.Node, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    made = nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
    made.set_lineno(node.lineno)
    return made


def _work_limit_of(context: Context) -> WorkLimit:
    found: WorkLimit = context.parent[WORK_LIMIT_KEY]  # what a template sets itself is elsewhere
    return found


@pass_environment
def _method(environment: "TemplateLanguage", value: object, name: str) -> object:
    return environment.method(value, name)


@pass_context
def _each_iteration(context: Context, items: Iterable[Any], cost: int) -> Iterator[Any]:
    work_limit = _work_limit_of(context)
    for item in items:
        work_limit.spend(cost)
        yield item


def _written(value: object) -> str:
    """*value* as it stands in a body: null is nothing, true is `true`; a list has no way but `tojson`."""
    match value:
        case str():
            return str(value)
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case jinja2.Undefined():
            return str(value)  # raises, and says what is not there
    raise TypeError("a list or a mapping is written by the filter tojson")


def _made(context: Context, text: str) -> str:
    _work_limit_of(context).spend(len(text))
    return text


@pass_context
def _print(context: Context, value: object) -> str:
    return _made(context, _written(value))


def _joined(context: Context, texts: list[str], between: str) -> str:
    _work_limit_of(context).spend(sum(map(len, texts)) + len(between) * len(texts))  # before it is made
    return between.join(texts)


@pass_context
def _concatenate(context: Context, values: list[object]) -> str:
    return _joined(context, [_written(value) for value in values], "")


@pass_context
def _join(context: Context, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        values = map(filters.make_attrgetter(context.environment, attribute), values)
    return _joined(context, [_written(value) for value in values], _written(d))


@pass_context
def _replace(context: Context, value: object, old: str, new: str) -> str:
    text = _written(value)
    _work_limit_of(context).spend(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


@pass_context
def _escape(context: Context, value: object) -> str:
    return _made(context, html.escape(_written(value)))


@pass_context
def _urlencode(context: Context, value: Any) -> str:
    return _made(context, filters.do_urlencode(value))


@pass_context
def _tojson(context: Context, value: object, indent: int | None = None) -> str:
    """JSON as it is, without the escapes that Jinja makes for HTML."""
    indent = None if indent is None else min(max(int(indent), 0), 8)
    separators = (",", ":") if indent is None else (",", ": ")
    encoder = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, indent=indent, separators=separators, default=_as_json
    )
    return "".join(_made(context, piece) for piece in encoder.iterencode(value))


def _as_json(value: Any) -> Json:
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, and says what is not there
    if isinstance(value, Iterable):  # what map, select and their like give
        return list(value)
    raise TypeError("only data can be written as JSON")


@pass_context
def _range(context: Context, *bounds: int) -> range:
    found = range(*bounds)
    if len(found) > LONGEST_RANGE:
        raise SecurityError(f"a range has at most {LONGEST_RANGE} numbers")
    _work_limit_of(context).spend(len(found))
    return found


class TemplateLanguage(ImmutableSandboxedEnvironment):
    """Jinja2 with what is named above and nothing else."""

    intercepted_binops = frozenset({"+", "*", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, autoescape=False, finalize=_print, cache_size=0)
        own: dict[str, Callable[..., Any]] = {
            "e": _escape, "escape": _escape, "join": _join, "replace": _replace, "string": _print,
            "tojson": _tojson, "urlencode": _urlencode, "each iteration": _each_iteration, "method": _method,
            "concatenate": _concatenate,
        }  # fmt: skip
        self.filters = {name: filters.FILTERS[name] for name in _FILTERS} | own
        self.globals = {"range": _range, "namespace": Namespace}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Where nothing is called, a key before a method: `result.items` may well be one."""
        return obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)

    def method(self, obj: Any, name: str) -> Any:
        """Where something is called: a method, within what the sandbox allows."""
        return super().getattr(obj, name)

    def is_safe_callable(self, obj: Any) -> bool:
        if obj is _range or obj is Namespace or isinstance(obj, jinja2.Undefined):  # the latter says what is missing
            return True
        owner = getattr(obj, "__self__", None)
        return any(isinstance(owner, kind) and obj.__name__ in names for kind, names in _METHODS.items())

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not self.is_safe_callable(obj):
            raise SecurityError(f"{getattr(obj, '__name__', 'this')}() is not available here")
        return context.call(obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "+" and not numbers and isinstance(left, str | list) and isinstance(right, str | list):
            _work_limit_of(context).spend(len(left) + len(right))
        elif not numbers:
            raise TypeError(f"{operator} is for numbers here")
        result = self.binop_table[operator](left, right)
        if numbers and abs(result) > LARGEST_NUMBER:
            raise OverflowError("the number is too large")
        return result


LONGEST_SOURCE = 64 << 10  # characters
LONGEST_BODY = 256 << 10  # bytes
LONGEST_WORDS = 300  # characters kept of what is wrong, which may quote the template

_RENDER_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    NameError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What Jinja raises, and what Python raises at what a template asks of it."""


class TemplateError(Exception):
    """
    A template that cannot be compiled, or not be rendered with what it was given.

    *line* counts from 1 in the template, None where it is not one line. *words* may
    hold words of the template.
    """

    def __init__(self, words: str, line: int | None) -> None:
        self.words = words
        self.line = line
        super().__init__(words if line is None else f"line {line} of the template: {words}")


class BodyTemplate:
    """A compiled template. It does not print itself, for its text may hold a token of its receiver."""

    __slots__ = ("_source", "_template")

    def __init__(self, source: str) -> None:
        """Compile *source*; raises TemplateError."""
        if len(source) > LONGEST_SOURCE:
            raise TemplateError(f"longer than {LONGEST_SOURCE >> 10} KiB", None)
        self._source = source
        language = TemplateLanguage()
        try:
            self._template = language.from_string(bounded(language.parse(source), language))
        except _RENDER_ERRORS as error:
            raise _template_error(error) from None

    def render(self, values: Mapping[str, Json]) -> bytes:
        """What the template makes of *values*, in UTF-8; raises TemplateError."""
        pieces = []
        space_left = LONGEST_BODY
        try:
            for piece in self._template.generate({**values, WORK_LIMIT_KEY: WorkLimit()}):
                pieces.append(piece)
                space_left -= len(piece)
                if space_left < 0:
                    break
        except _RENDER_ERRORS as error:
            raise _template_error(error) from None
        body = "".join(pieces).encode("utf-8", "replace")
        if len(body) > LONGEST_BODY:
            raise TemplateError(f"makes more than {LONGEST_BODY >> 10} KiB", None)
        return body

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BodyTemplate) and other._source == self._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __repr__(self) -> str:
        return "<template>"


def _template_error(error: BaseException) -> TemplateError:
    if isinstance(error, jinja2.TemplateSyntaxError):
        return TemplateError(one_line(error.message, longest=LONGEST_WORDS) or "no template", error.lineno)
    line = None
    trace = error.__traceback__
    while trace:
        if "__jinja_exception__" in trace.tb_frame.f_globals:  # a frame that Jinja made for a line of the template
            line = trace.tb_lineno
        trace = trace.tb_next
    return TemplateError(one_line(str(error), longest=LONGEST_WORDS) or type(error).__name__, line)
