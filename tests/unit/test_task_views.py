"""What the API shows of tasks and deliveries is what its description says, member by member."""

import json
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.guidance import guidance_for
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import Delivery, DeliveryState, DeliverySubject, Outcome, Status, Task, TaskKey
from cambwatch.web.api.deliveries import DeliveryPage, ListedDeliveryView, listed_delivery_view
from cambwatch.web.api.tasks import json_answer
from cambwatch.web.api.views import DeliveryView, TaskPage, TaskView, TaskViews

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
maybe_texts = st.none() | texts
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])
instants = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001 - naive by its API
maybe_instants = st.none() | instants
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
deliveries = st.builds(
    Delivery,
    id=texts,
    event_id=st.integers(1),
    destination=texts,
    state=st.sampled_from(DeliveryState),
    attempts=st.integers(0, 99),
    created_at=instants,
    next_attempt_at=maybe_instants,
    finished_at=maybe_instants,
    outcome=st.none() | st.sampled_from(Outcome),
    http_status=st.none() | st.integers(100, 599),
    detail=maybe_texts,
)
tasks = st.builds(
    Task,
    id=st.integers(1),
    key=st.builds(TaskKey, account=texts, kind=st.sampled_from([*KINDS, "unheard-of"]), task_id=texts),
    registrations=st.integers(1, 9),
    status=st.sampled_from(Status),
    registered_at=instants,
    deadline_at=instants,
    name=maybe_texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    notify=st.none() | st.lists(texts, max_size=3).map(tuple),
    group=maybe_texts,
    run_id=st.none() | st.integers(0, 2**63 - 1),
    exception_reason=maybe_texts,
    message=maybe_texts,
    result=json_values,
    polls=st.integers(0, 2**40),
    first_polled_at=maybe_instants,
    finished_at=maybe_instants,
)
shown = st.tuples(tasks, maybe_instants, st.booleans(), maybe_texts, st.lists(deliveries, max_size=2))


def instant(at):
    return None if at is None else rfc3339(at)


def as_model(task, next_poll_at, limited, result_endpoint, owed):
    """The same, checked by the model that /openapi.json describes."""
    guidance = guidance_for(task.key.kind, task.status, task.exception_reason)
    return TaskView(
        account=task.key.account,
        kind=task.key.kind,
        task_id=task.key.task_id,
        name=task.name,
        labels=dict(task.labels),
        group=task.group,
        notify=None if task.notify is None else list(task.notify),
        status=task.status,
        run_id=task.run_id,
        exception_reason=task.exception_reason,
        message=task.message,
        icon=guidance.icon,
        action=guidance.action,
        registered_at=rfc3339(task.registered_at),
        first_polled_at=instant(task.first_polled_at),
        finished_at=instant(task.finished_at),
        next_poll_at=instant(next_poll_at),
        polls=task.polls,
        deadline_at=rfc3339(task.deadline_at),
        limited_by="budget" if limited and task.status is Status.PENDING else None,
        result_endpoint=result_endpoint,
        result=task.result,
        deliveries=[owed_model(DeliveryView, one) for one in owed],
    )


def owed_model(model, one, **more):
    return model(
        id=one.id,
        destination=one.destination,
        state=one.state,
        attempts=one.attempts,
        outcome=one.outcome,
        http_status=one.http_status,
        detail=one.detail,
        created_at=rfc3339(one.created_at),
        next_attempt_at=instant(one.next_attempt_at),
        finished_at=instant(one.finished_at),
        **more,
    )


@given(st.lists(shown, max_size=4), maybe_texts)
def test_tasks_are_shown_as_their_model_would_show_them(several, next_cursor):
    """Byte for byte, whatever of what is said once for all of an answer they share."""
    views = TaskViews()
    found = [
        views.view(task, next_poll_at=at, limited=limited, result_endpoint=endpoint, deliveries=owed)
        for task, at, limited, endpoint, owed in several
    ]
    page = TaskPage(items=[as_model(*one) for one in several], next_cursor=next_cursor)
    body = json_answer({"items": found, "next_cursor": next_cursor}).body
    assert body == page.model_dump_json().encode()
    for view, model in zip(found, page.items, strict=True):
        assert json_answer(view).body == model.model_dump_json().encode()
    json.loads(body, parse_constant=float.fromhex)  # raises: NaN is no JSON


@given(st.lists(st.tuples(deliveries, texts, maybe_texts), max_size=4))
def test_deliveries_are_shown_as_their_model_would_show_them(several):
    """Byte for byte."""
    found = [listed_delivery_view(one, DeliverySubject(event_type, group=group)) for one, event_type, group in several]
    models = [
        owed_model(
            ListedDeliveryView,
            one,
            event_type=event_type,
            account=None,
            kind=None,
            task_id=None,
            name=None,
            group=group,
            about_destination=None,
        )
        for one, event_type, group in several
    ]
    page = DeliveryPage(items=models, next_cursor=None)
    assert json_answer({"items": found, "next_cursor": None}).body == page.model_dump_json().encode()
