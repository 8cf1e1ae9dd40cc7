"""Bodies that a template makes: compiled once, rendered with what an event is, told by line where they fail."""

from collections.abc import Mapping

import jinja2

from cambwatch.core.model import Json
from cambwatch.core.template_language import WORK_LIMIT_KEY, TemplateLanguage, WorkLimit, bounded
from cambwatch.core.text import one_line

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
