"""What a user can prescribe for a task: its end, its timing, the answers to its next polls."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from cambwatch.core.camb import kinds
from cambwatch.core.model import Json
from cambwatch.simulator.settings import SimulatedFault

MOST_RESULT_BYTES = 1 << 28


class Shape(StrEnum):
    """The forms in which status endpoints have been seen to answer."""

    OBJECT = "object"
    STRING = "string"  # the bare word
    LIST = "list"  # [] until the end, then one entry per run
    STATUSLESS = "statusless"  # {"run_id": ...} only


class AnswerReply(BaseModel):
    """One answer, word for word. *document* is `json` on the wire; it and *body* exclude each other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: int = Field(200, ge=200, le=599)
    document: Json = Field(None, alias="json")
    body: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)

    @property
    def has_document(self) -> bool:
        """Whether a document was given; it may be null."""
        return "document" in self.model_fields_set

    @field_validator("headers")
    @classmethod
    def _fit_for_the_wire(cls, headers: dict[str, str]) -> dict[str, str]:
        for text in (*headers, *headers.values()):
            if not text.isprintable():
                raise ValueError("no control characters in headers")
        if not all(name.strip() and name.isascii() and ":" not in name for name in headers):
            raise ValueError("a header needs a name")
        return headers

    @model_validator(mode="after")
    def _one_content(self) -> "AnswerReply":
        if self.has_document and self.body is not None:
            raise ValueError("give either json or body")
        return self


class FaultReply(BaseModel):
    """One mishap; *seconds* is how long slow and hang last (hang without it: until the client leaves)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fault: SimulatedFault
    seconds: float | None = Field(None, ge=0, allow_inf_nan=False)


def _form_of(reply: Any) -> str:
    is_fault = isinstance(reply, FaultReply) or (isinstance(reply, Mapping) and "fault" in reply)
    return "mishap" if is_fault else "answer"


Reply = Annotated[
    Annotated[AnswerReply, Tag("answer")] | Annotated[FaultReply, Tag("mishap")],
    Discriminator(_form_of),
]


class TaskScript(BaseModel):
    """
    A task as a user wants it to go.

    It is PENDING for *after_seconds*, then *status* for ever; with the status
    PENDING it never ends. Any word is allowed as a status. *replies* answer the next
    polls before all this, *result_replies* the next requests for its result, of which
    *result_bytes* is the least size. *request* is what the create call would have said; for
    dub-alt-format it may hold run_id, language and output_format.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    task_id: str | None = Field(None, min_length=1)
    status: str = Field("SUCCESS", min_length=1)
    after_seconds: float = Field(0, ge=0, allow_inf_nan=False)
    run_id: int | None = Field(None, ge=1)
    exception_reason: str | None = None
    message: str | dict[str, Json] | None = None
    shape: Shape | None = None
    case: Literal["upper", "lower"] = "upper"
    replies: tuple[Reply, ...] = ()
    result_replies: tuple[Reply, ...] = ()
    result_bytes: int = Field(0, ge=0, le=MOST_RESULT_BYTES)
    request: dict[str, Json] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _known(cls, word: str) -> str:
        kind = kinds.find_kind(word)
        if kind is None:
            close = kinds.suggest_kind(word)
            raise ValueError(f"no such kind: {word!r}" + (f"; did you mean {close}?" if close else ""))
        return kind.name


class TaskScriptFields(TypedDict, total=False):
    """TaskScript's fields besides kind and task_id, as keyword arguments."""

    status: str
    after_seconds: float
    run_id: int | None
    exception_reason: str | None
    message: str | dict[str, Json] | None
    shape: Shape | Literal["object", "string", "list", "statusless"] | None
    case: Literal["upper", "lower"]
    replies: Iterable[AnswerReply | FaultReply | Mapping[str, Json]]
    result_replies: Iterable[AnswerReply | FaultReply | Mapping[str, Json]]
    result_bytes: int
    request: Mapping[str, Json]
