"""What a registration may say, and everything that is wrong with one that says something else."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any
from unicodedata import category

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cambwatch.core.camb import kinds
from cambwatch.core.instants import parse_duration
from cambwatch.core.model import Json, Registration, TaskKey
from cambwatch.core.names import LONGEST_TASK_ID, check_task_id
from cambwatch.web.api.requests import SPAN_PATTERN, escape_pointer_step, read_json
from cambwatch.web.problem_details import Mistake, unprocessable

LARGEST_ARRAY = 1000
MOST_MISTAKES = 100  # that an answer lists
LONGEST_WORD = 64  # of what was sent, that is compared with known words or repeated in an answer


def _check_kind(word: str) -> str:
    found = kinds.find_kind(word)
    if found is None:
        close = kinds.suggest_kind(word[:LONGEST_WORD])
        raise ValueError(f"is no kind of task{f' (did you mean {close}?)' if close else ''}; GET /v1/kinds lists them")
    return found.name


def _check_deadline(text: str) -> str:
    if parse_duration(text) <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return text


def _check_one_line(text: str) -> str:
    """As the configuration has it: what ends up in logs, terminals and messages does nothing there."""
    if any(category(character) in {"Cc", "Zl", "Zp"} for character in text):
        raise ValueError("must not hold control characters or line breaks")
    return text


# check_task_id says the same in better words.
_TASK_ID_SCHEMA: dict[str, Json] = {"minLength": 1, "maxLength": LONGEST_TASK_ID}

KindWord = Annotated[str, AfterValidator(_check_kind)]
TaskId = Annotated[str, AfterValidator(check_task_id), Field(json_schema_extra=_TASK_ID_SCHEMA)]
Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_one_line)]
Label = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_one_line)]
LabelValue = Annotated[str, Field(max_length=256), AfterValidator(_check_one_line)]
Deadline = Annotated[
    str, Field(max_length=40, json_schema_extra={"pattern": SPAN_PATTERN}), AfterValidator(_check_deadline)
]


class RegistrationBody(BaseModel):
    """A wish to watch a task."""

    model_config = ConfigDict(extra="forbid", strict=True, title="Registration")

    kind: KindWord = Field(description="what Camb was asked to do; see GET /v1/kinds", examples=["text-to-voice"])
    task_id: TaskId = Field(
        description="the id that Camb returned; placeholders and values in quotes are refused",
        examples=["c8b8e3cd-ad17-4458-83ad-349432da117b"],
    )
    name: Line | None = Field(None, description="what people call it", examples=["Narrator"])
    labels: dict[Label, LabelValue] = Field(default_factory=dict, description="for routes and listings", max_length=32)
    notify: list[str] | None = Field(
        None, description="destinations that hear of the end, instead of those that the routes name", max_length=64
    )
    group: Line | None = Field(None, description="tasks that belong together")
    group_size: int | None = Field(None, description="how many tasks the group will have", ge=1, le=1_000_000)
    account: str = Field("default", description="the account whose key created it", max_length=64)
    deadline: Deadline | None = Field(None, description="how long to watch at most", examples=["12h"])
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="what reading the result needs besides run_id, such as target_language",
        max_length=32,
    )


@dataclass(frozen=True, slots=True)
class _UnknownName:
    """*name* stands *at* a place of a registration, but is none of the *known* names of its *noun*."""

    at: str
    noun: str
    name: str
    known: Collection[str]


class RegistrationParser:
    """Reads registrations as the configuration lets them be."""

    def __init__(
        self, *, accounts: Collection[str], destinations: Collection[str], deadline: Callable[[str], timedelta]
    ) -> None:
        self._accounts = accounts
        self._destinations = destinations
        self._check_deadline = deadline

    def read(self, body: bytes) -> tuple[list[Registration], bool]:
        """
        The registrations in *body*, and whether it is an array of them.

        Raises ProblemError with every mistake, up to MOST_MISTAKES, and a pointer to each.
        """
        document = read_json(body)
        if not isinstance(document, list):
            return self._read_all([document], [""]), False
        if not document:
            raise unprocessable([Mistake(pointer="#", detail="the array is empty")])
        if len(document) > LARGEST_ARRAY:
            detail = f"the array has {len(document)} tasks, {LARGEST_ARRAY} are allowed; send them in several"
            raise unprocessable([Mistake(pointer="#", detail=detail)])
        return self._read_all(document, [f"/{index}" for index in range(len(document))]), True

    def _read_all(self, documents: list[Json], prefixes: list[str]) -> list[Registration]:
        count = 0
        mistakes: list[Mistake] = []
        registrations: list[Registration] = []
        deadline = cache(self._check_deadline)  # which has to look into the configuration
        for document, prefix in zip(documents, prefixes, strict=True):
            try:
                requested = RegistrationBody.model_validate(document)
            except ValidationError as error:
                count += error.error_count()
                some = error.errors(include_url=False, include_input=False)[: MOST_MISTAKES - len(mistakes)]
                mistakes += (
                    mistake_from_pydantic(detail, prefix, known=RegistrationBody.model_fields) for detail in some
                )
            else:
                unknown = self._unknown_names(requested)
                count += len(unknown)
                mistakes += (_unknown_name_mistake(one, prefix) for one in unknown[: MOST_MISTAKES - len(mistakes)])
                registrations.append(_registration(requested, deadline))
        if mistakes:
            raise unprocessable(mistakes, count=count)
        return registrations

    def _unknown_names(self, requested: RegistrationBody) -> list[_UnknownName]:
        """Names that the configuration does not have."""
        found = []
        if requested.account not in self._accounts:
            found.append(_UnknownName("/account", "account", requested.account, self._accounts))
        for index, name in enumerate(requested.notify or ()):
            if name not in self._destinations:
                found.append(_UnknownName(f"/notify/{index}", "destination", name, self._destinations))
        return found


def _registration(requested: RegistrationBody, deadline: Callable[[str], timedelta]) -> Registration:
    return Registration(
        key=TaskKey(requested.account, requested.kind, requested.task_id),
        name=requested.name,
        labels=requested.labels,
        notify=None if requested.notify is None else tuple(dict.fromkeys(requested.notify)),
        group=requested.group,
        group_size=requested.group_size,
        extra=requested.extra,
        deadline=deadline(requested.kind) if requested.deadline is None else parse_duration(requested.deadline),
    )


def _mistake_at(pointer: str, detail: str) -> Mistake:
    return Mistake(pointer=f"#{pointer}", detail=detail)


def _unknown_name_mistake(one: _UnknownName, prefix: str) -> Mistake:
    hint = _did_you_mean(one.name, one.known)
    return _mistake_at(
        prefix + one.at, f"there is no {one.noun} {one.name[:LONGEST_WORD]!r} in the configuration{hint}"
    )


def _did_you_mean(word: str, known: Collection[str]) -> str:
    close = get_close_matches(word[:LONGEST_WORD], known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def mistake_from_pydantic(error: Mapping[str, Any], prefix: str = "", *, known: Collection[str]) -> Mistake:
    """What pydantic says of the document at *prefix*, whose members are *known*, in words of ours."""
    steps = [str(step) for step in error["loc"]]
    if len(steps) > 2 and steps[-1] == "[key]":  # pydantic's way to say that the name of a member is wrong
        steps.pop()
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            detail = "is missing"
        case "extra_forbidden":
            detail = f"is not known here{_did_you_mean(steps[-1], known)}"
        case "model_type" | "dict_type":
            detail = "must be an object"
        case "list_type":
            detail = "must be an array"
        case "string_type":
            detail = "must be a string"
        case "int_type":
            detail = "must be a whole number"
        case "string_too_short":
            detail = "is empty"
        case "string_too_long":
            detail = f"is longer than {context['max_length']} characters"
        case "too_long":
            detail = f"has more than {context['max_length']} entries"
        case "value_error":
            detail = str(context["error"])
        case _:
            detail = error["msg"].removeprefix("Input ")
    return _mistake_at(prefix + "".join(f"/{escape_pointer_step(step)}" for step in steps), detail)
