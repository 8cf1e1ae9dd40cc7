"""Listings, waiting for an end, groups, kinds, health and readiness."""

import asyncio
import time

import pytest
from receivers import Reply

from cambwatch.core.camb.kinds import KINDS

HOUR_S = 3600


async def register(made, camb, **fields):
    """A registered task that stays pending for an hour; returns its task_id."""
    kind = fields.setdefault("kind", "dub")
    task_id = camb.add(kind, after_seconds=HOUR_S)
    answer = await made.api.post({"task_id": task_id, **fields})
    assert answer.status == 201
    return task_id


async def listed(made, query=""):
    page = await made.api.get(f"/v1/tasks?{query}")
    assert page.status == 200
    return [task["task_id"] for task in page.document["items"]]


async def test_a_listing_shows_the_newest_first(daemon, camb):
    made = await daemon()
    ids = [await register(made, camb) for _ in range(3)]
    assert await listed(made) == ids[::-1]


async def test_pages_follow_each_other_without_gap_or_repeat_while_tasks_come_in(daemon, camb):
    made = await daemon()
    ids = [await register(made, camb) for _ in range(7)]
    found, query = [], "limit=3"
    while True:
        page = (await made.api.get(f"/v1/tasks?{query}")).document
        found += [task["task_id"] for task in page["items"]]
        if page["next_cursor"] is None:
            break
        await register(made, camb)  # newer than every page to come
        query = f"limit=3&cursor={page['next_cursor']}"
    assert found == ids[::-1]


async def test_a_page_that_is_just_full_is_the_last(daemon, camb):
    made = await daemon()
    for _ in range(3):
        await register(made, camb)
    assert (await made.api.get("/v1/tasks?limit=3")).document["next_cursor"] is None


async def test_filters_hold_together_and_their_words_add_up(daemon, camb):
    made = await daemon("camb: {accounts: {studio-b: {api_key: the-test-key}}}")
    a = await register(made, camb, kind="dub", group="g 1", labels={"show": "pilot", "team": "x"})
    b = await register(made, camb, kind="tts", group="g 1", labels={"show": "pilot"})
    c = await register(made, camb, kind="story", labels={"show": "finale", 'odd"name': "a:b"}, account="studio-b")
    await made.api.ask("DELETE", f"/v1/tasks/dub/{a}")
    assert await listed(made, "kind=dub,tts") == [b, a]
    assert await listed(made, "kind=dub&kind=text-to-speech") == [b, a]
    assert await listed(made, "status=PENDING") == [c, b]
    assert await listed(made, "status=removed,SUCCESS") == [a]
    assert await listed(made, "group=g%201") == [b, a]
    assert await listed(made, "group=g+1&status=PENDING") == [b]
    assert await listed(made, "label=show:pilot") == [b, a]
    assert await listed(made, "label=show:pilot&label=team:x") == [a]
    assert await listed(made, "label=show:nothing") == []
    assert await listed(made, "label=odd%22name:a:b") == [c]
    assert await listed(made, "account=studio-b") == [c]
    assert await listed(made, "account=unheard-of") == []
    assert await listed(made, "kind=dub&status=PENDING") == []


async def test_waiting_answers_as_soon_as_the_task_ends(daemon, camb):
    made = await daemon()
    task_id = camb.add("dub", status="ERROR", after_seconds=0.3)
    path = (await made.api.post({"kind": "dub", "task_id": task_id})).headers["location"]
    answer = await made.api.get(f"{path}?wait=10m")
    assert answer.document["status"] == "ERROR"


async def test_waiting_for_an_ended_task_answers_at_once(daemon, camb):
    made = await daemon()
    task_id = await register(made, camb)
    await made.api.ask("DELETE", f"/v1/tasks/dub/{task_id}")
    answer = await made.api.get(f"/v1/tasks/dub/{task_id}?wait=10m")
    assert answer.document["status"] == "REMOVED"


async def test_waiting_answers_when_the_time_is_up(daemon, camb):
    made = await daemon()
    task_id = await register(made, camb)
    started_s = time.monotonic()
    answer = await made.api.get(f"/v1/tasks/dub/{task_id}?wait=300ms")
    assert answer.document["status"] == "PENDING"
    assert time.monotonic() - started_s >= 0.3


async def test_waiting_answers_when_the_task_is_removed(daemon, camb):
    made = await daemon()
    task_id = await register(made, camb)
    waiting = [asyncio.create_task(made.api.get(f"/v1/tasks/dub/{task_id}?wait=10m")) for _ in range(3)]
    await until_heard(made, waiting)
    await made.api.ask("DELETE", f"/v1/tasks/dub/{task_id}")
    assert {answer.document["status"] for answer in await asyncio.gather(*waiting)} == {"REMOVED"}


async def test_waiting_answers_when_the_daemon_stops(daemon, camb):
    made = await daemon()
    task_id = await register(made, camb)
    waiting = asyncio.create_task(made.api.get(f"/v1/tasks/dub/{task_id}?wait=10m"))
    await until_heard(made, [waiting])
    await made.stop()
    assert (await waiting).document["status"] == "PENDING"


async def until_heard(made, waiting):
    """Give requests under way the time to arrive: later ones are answered after them."""
    for _ in range(5):
        await made.api.get("/v1/tasks")
    assert not any(task.done() for task in waiting)


async def test_a_caller_who_hangs_up_while_waiting_does_no_harm(daemon, camb):
    made = await daemon()
    task_id = await register(made, camb)
    waiting = asyncio.create_task(made.api.get(f"/v1/tasks/dub/{task_id}?wait=10m"))
    await until_heard(made, [waiting])
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (await made.api.ask("DELETE", f"/v1/tasks/dub/{task_id}")).status == 204


async def test_a_group_counts_its_tasks_and_says_when_it_is_complete(daemon, camb):
    made = await daemon()
    first = await register(made, camb, group="s/1 é", group_size=2)
    path = "/v1/groups/s%2F1%20%C3%A9"
    state = {"group": "s/1 é", "counts": {"PENDING": 1}, "tasks": 1, "group_size": 2, "complete": False}
    assert (await made.api.get(path)).document == state
    await made.api.ask("DELETE", f"/v1/tasks/dub/{first}")
    assert (await made.api.get(path)).document == state | {"counts": {"REMOVED": 1}}  # one more is to come
    second = camb.add("dub", status="ERROR")
    where = (await made.api.post({"kind": "dub", "task_id": second, "group": "s/1 é"})).headers["location"]
    await made.api.get(f"{where}?wait=10s")
    complete = state | {"counts": {"ERROR": 1, "REMOVED": 1}, "tasks": 2, "complete": True}
    assert (await made.api.get(path)).document == complete


async def test_an_unknown_group_is_not_found(daemon):
    made = await daemon()
    assert (await made.api.get("/v1/groups/nothing")).status == 404


async def test_kinds_are_listed_with_their_pace(daemon):
    made = await daemon("polling: {deadline: 2h, kinds: {dub: {interval: 15s, deadline: 3d}}}")
    kinds = {kind["kind"]: kind for kind in (await made.api.get("/v1/kinds")).document["items"]}
    assert list(kinds) == list(KINDS)
    assert (kinds["dub"]["interval_seconds"], kinds["dub"]["deadline_seconds"]) == (15, 3 * 86_400)
    assert (kinds["tts"]["interval_seconds"], kinds["tts"]["deadline_seconds"]) == (0.05, 7200)
    assert kinds["transcription"]["aliases"] == ["transcribe"]
    assert kinds["translated-story"]["needs_extra"] == ["target_language"]


async def test_a_healthy_daemon_is_alive_and_ready(daemon):
    made = await daemon()
    assert (await made.api.get("/healthz")).document == {"status": "ok"}
    answer = await made.api.get("/readyz")
    assert (answer.status, answer.document) == (200, {"ready": True, "reasons": []})


@pytest.mark.parametrize("http_status", [401, 403])
async def test_a_refused_key_makes_unready_and_names_its_account_only(daemon, camb, receivers, until, http_status):
    receivers.otherwise = Reply(status=http_status, body=b'{"detail": "no"}')
    made = await daemon(f'camb: {{accounts: {{studio-b: {{api_key: wrong, base_url: "{receivers.url}"}}}}}}')
    good = await register(made, camb)
    await made.api.post({"kind": "dub", "task_id": "x", "account": "studio-b"})

    async def unready():
        return (await made.api.get("/readyz")).status == 503

    await until(unready)
    answer = await made.api.get("/readyz")
    (reason,) = answer.document["reasons"]
    assert "studio-b" in reason
    assert str(http_status) in reason
    assert (await made.api.get("/healthz")).status == 200
    assert await listed(made, "status=PENDING") == ["x", good]  # both stay watched


async def test_a_task_of_an_account_that_is_gone_can_still_be_read(daemon, camb):
    made = await daemon("camb: {accounts: {studio-b: {api_key: the-test-key}}}")
    task_id = camb.add("dub", run_id=5)
    where = (await made.api.post({"kind": "dub", "task_id": task_id, "account": "studio-b"})).headers["location"]
    assert (await made.api.get(f"{where}&wait=10s")).document["status"] == "SUCCESS"
    await made.stop()
    without = await daemon()
    assert (await without.api.get(where)).document["status"] == "SUCCESS"
    assert await listed(without) == [task_id]
