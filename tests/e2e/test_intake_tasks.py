"""Registering tasks, removing them, and having them asked for at once."""

import re

import pytest
from receivers import Reply

FIELDS = [  # of a task in JSON: other people's scripts depend on these
    *("account", "kind", "task_id", "name", "labels", "group", "notify", "status", "run_id", "exception_reason"),
    *("message", "icon", "action", "registered_at", "first_polled_at", "finished_at", "next_poll_at", "polls"),
    *("deadline_at", "limited_by", "result_endpoint", "result", "deliveries"),
]
INSTANT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HOUR_S = 3600


def hook(receivers, *names):
    """A configuration with webhook destinations."""
    lines = "".join(
        f'  {name}: {{type: webhook, url: "{receivers.url}/{name}", allow_private: true}}\n' for name in names
    )
    return f"destinations:\n{lines}"


async def ended(api, path):
    """The task at *path* as soon as it has ended."""
    return (await api.get(f"{path}?wait=10s")).document


async def test_a_task_shows_the_fields_of_the_contract_and_no_others(daemon, camb, receivers):
    made = await daemon(hook(receivers, "pipeline"))
    wish = {
        "kind": "text-to-voice",
        "task_id": camb.add("text-to-voice", after_seconds=HOUR_S),
        "name": "Narrator",
        "labels": {"show": "pilot"},
        "notify": ["pipeline"],
        "group": "season 1",
        "group_size": 2,
        "account": "default",
        "deadline": "90m",
        "extra": {"language": 1},
    }
    answer = await made.api.post(wish)
    task = answer.document
    assert (answer.status, list(task)) == (201, FIELDS)
    shown = wish.keys() & set(FIELDS)
    assert {name: task[name] for name in shown} == {name: wish[name] for name in shown}
    assert (task["status"], task["icon"], task["action"]) == ("PENDING", "⏳", "wait")
    assert task["deliveries"] == []


async def test_what_is_not_said_is_null_or_empty(daemon, camb):
    made = await daemon()
    task = (await made.api.post({"kind": "dub", "task_id": camb.add("dub", after_seconds=HOUR_S)})).document
    assert task["account"] == "default"
    assert task["labels"] == {}
    empty = ["name", "group", "notify", "run_id", "exception_reason", "message", "finished_at", "result"]
    assert {name: task[name] for name in empty} == dict.fromkeys(empty)


async def test_an_ended_task_shows_its_end_and_what_was_delivered(daemon, camb, receivers, until):
    made = await daemon(hook(receivers, "pipeline"))
    task_id = camb.add("text-to-voice", after_seconds=0.1, run_id=77)
    path = (await made.api.post({"kind": "voice", "task_id": task_id})).headers["location"]
    await ended(made.api, path)

    async def delivered():
        return (await made.api.get(path)).document["deliveries"][0]["state"] == "delivered"

    await until(delivered)
    task = (await made.api.get(path)).document
    assert (task["status"], task["run_id"], task["icon"], task["action"]) == ("SUCCESS", 77, "✅", "download_voice")
    assert task["result_endpoint"] == f"{camb.base_url}/text-to-voice-result/77"
    assert task["result"]["previews"]
    assert task["polls"] == camb.polls(task_id)
    assert task["next_poll_at"] is None
    delivery = task["deliveries"][0]
    (webhook,) = receivers.at("/pipeline")
    assert delivery["id"] == webhook.headers["webhook-id"]
    assert (delivery["destination"], delivery["attempts"], delivery["outcome"]) == ("pipeline", 1, "accepted")
    times = [task[name] for name in ("registered_at", "first_polled_at", "finished_at", "deadline_at")]
    times += [delivery["created_at"], delivery["finished_at"]]
    assert all(INSTANT.fullmatch(time) for time in times)
    assert sorted(times[:3]) == times[:3] < times[3:4]


@pytest.mark.parametrize("word", ["tts", "text-to-speech", "TEXT_TO_SPEECH", " Tts "])
async def test_a_kind_may_be_named_by_an_alias_in_any_case(daemon, camb, word):
    made = await daemon()
    answer = await made.api.post({"kind": word, "task_id": camb.add("tts", after_seconds=HOUR_S)})
    assert (answer.status, answer.document["kind"]) == (201, "tts")
    assert answer.headers["location"].startswith("/v1/tasks/tts/")


async def test_a_body_of_1_mib_is_taken_and_so_is_a_charset_beside_the_content_type(daemon):
    made = await daemon()
    body = b'{"kind": "dub", "task_id": "a"}'.ljust(1 << 20)
    answer = await made.api.post(None, body=body, headers={"content-type": "Application/JSON; charset=utf-8"})
    assert answer.status == 201


async def test_a_byte_order_mark_in_front_of_the_body_does_no_harm(daemon):
    made = await daemon()
    body = b'\xef\xbb\xbf{"kind": "dub", "task_id": "a1"}'
    answer = await made.api.post(None, body=body)
    assert (answer.status, answer.document["task_id"]) == (201, "a1")


async def test_an_alias_names_the_same_task(daemon, camb):
    made = await daemon()
    task_id = camb.add("transcription", after_seconds=HOUR_S)
    assert (await made.api.post({"kind": "transcription", "task_id": task_id})).status == 201
    assert (await made.api.post({"kind": "transcribe", "task_id": task_id})).status == 200
    assert (await made.api.get(f"/v1/tasks/transcribe/{task_id}")).status == 200


async def test_a_location_leads_to_the_task_of_its_account(daemon, camb):
    made = await daemon("camb: {accounts: {studio.b: {api_key: the-test-key}}}")
    task_id = camb.add("dub", after_seconds=HOUR_S)
    wish = {"kind": "dub", "task_id": task_id, "account": "studio.b"}
    where = (await made.api.post(wish)).headers["location"]
    assert (await made.api.get(where)).document["account"] == "studio.b"
    assert (await made.api.get(f"/v1/tasks/dub/{task_id}")).status == 404
    assert (await made.api.post({"kind": "dub", "task_id": task_id})).status == 201  # another task


async def test_a_known_task_is_answered_as_it_is_and_not_changed(daemon, camb):
    made = await daemon()
    wish = {"kind": "dub", "task_id": camb.add("dub", after_seconds=HOUR_S), "name": "first", "deadline": "1h"}
    first = (await made.api.post(wish)).document
    again = await made.api.post(wish | {"name": "second", "labels": {"a": "b"}, "deadline": "9h"})
    assert again.status == 200
    assert "location" not in again.headers
    kept = ("name", "labels", "registered_at", "deadline_at")
    assert [again.document[name] for name in kept] == [first[name] for name in kept]


async def test_a_task_that_camb_ended_is_not_watched_again(daemon, camb, receivers):
    made = await daemon(hook(receivers, "pipeline"))
    wish = {"kind": "dub", "task_id": camb.add("dub", status="ERROR")}
    where = (await made.api.post(wish)).headers["location"]
    await ended(made.api, where)
    polls = camb.polls(wish["task_id"])
    again = await made.api.post(wish)
    assert (again.status, again.document["status"]) == (200, "ERROR")
    assert camb.polls(wish["task_id"]) == polls


async def end_by_removing(made, camb, wish):
    await made.api.ask("DELETE", f"/v1/tasks/dub/{wish['task_id']}")


async def end_by_waiting(made, camb, wish):
    await ended(made.api, f"/v1/tasks/dub/{wish['task_id']}")


@pytest.mark.parametrize(
    ("status", "end", "deadline", "known"),
    [
        ("REMOVED", end_by_removing, "1h", True),
        ("EXPIRED", end_by_waiting, "100ms", True),
        ("NOT_FOUND", end_by_waiting, "1h", False),
    ],
)
async def test_a_task_whose_end_was_not_cambs_is_watched_anew(daemon, camb, receivers, status, end, deadline, known):
    made = await daemon(hook(receivers, "pipeline"))
    if known:
        camb.add("dub", "again", after_seconds=HOUR_S)
    wish = {"kind": "dub", "task_id": "again", "name": "first", "deadline": deadline}
    first = await made.api.post(wish)
    await end(made, camb, wish)
    before = (await made.api.get("/v1/tasks/dub/again")).document
    assert before["status"] == status

    camb.add("dub", "again", status="ERROR", after_seconds=0.2)
    again = await made.api.post(wish | {"name": "second", "deadline": "1h"})
    task = again.document
    assert (again.status, again.headers["location"]) == (201, first.headers["location"])
    assert (task["status"], task["name"], task["finished_at"]) == ("PENDING", "second", None)
    assert task["registered_at"] > before["registered_at"]
    assert (await ended(made.api, "/v1/tasks/dub/again"))["status"] == "ERROR"
    owed = 1 if status == "REMOVED" else 2  # nobody is told of a removal
    await receivers.until(lambda: len(receivers.at("/pipeline")) == owed)
    assert len({webhook.headers["webhook-id"] for webhook in receivers.at("/pipeline")}) == owed


async def test_an_array_is_answered_in_its_order_with_what_was_known_among_it(daemon, camb):
    made = await daemon()
    ids = [camb.add("dub", after_seconds=HOUR_S) for _ in range(5)]
    await made.api.post({"kind": "dub", "task_id": ids[3], "name": "known"})
    answer = await made.api.post([{"kind": "dub", "task_id": task_id} for task_id in [*ids, ids[0]]])
    assert answer.status == 201
    assert list(answer.document) == ["items", "next_cursor"]
    assert [task["task_id"] for task in answer.document["items"]] == [*ids, ids[0]]
    assert answer.document["items"][3]["name"] == "known"
    assert len((await made.api.get("/v1/tasks")).document["items"]) == 5


async def test_an_array_of_a_thousand_is_stored_and_watched(daemon, camb, until):
    made = await daemon("polling: {interval: 5s}")
    for number in range(1000):
        camb.add("tts", f"t{number}", status="ERROR")
    answer = await made.api.post([{"kind": "tts", "task_id": f"t{number}"} for number in range(1000)])
    assert (answer.status, len(answer.document["items"])) == (201, 1000)

    async def all_ended():
        return not (await made.api.get("/v1/tasks?status=PENDING&limit=1")).document["items"]

    await until(all_ended)
    assert sum(camb.polls(f"t{number}") for number in range(1000)) == 1000


async def test_a_removed_task_is_not_asked_for_and_nobody_is_told(daemon, camb, receivers):
    made = await daemon(hook(receivers, "pipeline"))
    removed, other = (camb.add("dub", status="PENDING") for _ in range(2))
    for task_id in (removed, other):
        await made.api.post({"kind": "dub", "task_id": task_id})
    answer = await made.api.ask("DELETE", f"/v1/tasks/dub/{removed}")
    assert (answer.status, answer.body) == (204, b"")
    task = (await made.api.get(f"/v1/tasks/dub/{removed}")).document
    assert (task["status"], task["next_poll_at"], task["deliveries"]) == ("REMOVED", None, [])
    assert INSTANT.fullmatch(task["finished_at"])
    for task_id in (removed, other):
        camb.add("dub", task_id, status="ERROR")
    await receivers.until(lambda: receivers.at("/pipeline"))  # the other one, which ends later
    assert [webhook.document["data"]["task_id"] for webhook in receivers.requests] == [other]


async def test_removing_an_ended_task_cancels_what_is_still_owed(daemon, camb, receivers):
    made = await daemon(hook(receivers, "pipeline").replace("true}", "true, retry: {first: 200ms, max: 200ms}}"))
    receivers.otherwise = Reply(status=503)

    def attempts(task_id):
        return sum(webhook.document["data"]["task_id"] == task_id for webhook in receivers.requests)

    removed = {"kind": "dub", "task_id": camb.add("dub", status="ERROR")}
    where = (await made.api.post(removed)).headers["location"]
    await receivers.until(lambda: attempts(removed["task_id"]) == 1)
    assert (await made.api.ask("DELETE", where)).status == 204
    task = (await made.api.get(where)).document
    assert (task["status"], task["deliveries"][0]["state"]) == ("ERROR", "cancelled")

    later = {"kind": "dub", "task_id": camb.add("dub", status="ERROR")}
    await made.api.post(later)
    await receivers.until(lambda: attempts(later["task_id"]) == 3)  # long after the other one was due again
    assert attempts(removed["task_id"]) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_task_that_nobody_registered_is_not_found(daemon, method):
    made = await daemon()
    answer = await made.api.ask(method, "/v1/tasks/dub/unheard-of")
    assert answer.status == 404
    assert "nobody registered" in answer.document["detail"]


async def test_a_task_can_be_asked_for_at_once(daemon, camb, until):
    made = await daemon("polling: {interval: 10m, max_interval: 10m}")
    task_id = camb.add("dub", status="ERROR", after_seconds=0.3)
    path = (await made.api.post({"kind": "dub", "task_id": task_id})).headers["location"]
    await until(lambda: camb.polls(task_id) == 1)

    async def over():
        answer = await made.api.ask("POST", f"{path}/poll", {})
        assert answer.status in {202, 409}
        return answer.status == 409

    await until(over)
    refused = await made.api.ask("POST", f"{path}/poll")
    assert refused.document["detail"] == "the task has ended: ERROR"
    assert (await made.api.ask("POST", "/v1/tasks/dub/unheard-of/poll")).status == 404


async def test_a_registration_survives_a_kill_right_after_its_answer(process, camb):
    made = await process()
    wish = {"kind": "dub", "task_id": camb.add("dub", after_seconds=HOUR_S), "name": "kept"}
    where = (await made.api.post(wish)).headers["location"]
    await made.kill()
    await made.start()
    assert (await made.api.get(where)).document["name"] == "kept"
