"""What the intake refuses: with problem details that point at every mistake, nothing stored, and the daemon alive."""

import json

import pytest

DUB = {"kind": "dub", "task_id": "a"}
MIB = 1 << 20
SHARED = """
camb: {accounts: {studio-b: {api_key: another-key}}}
destinations: {pipeline: {type: webhook, url: "http://127.0.0.1:9/hook", allow_private: true}}
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def refused(made, answer, status, *pointers):
    """See that *answer* is a problem with mistakes at *pointers*, and that nothing came of the request."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.document["status"] == status
    assert answer.document["detail"]
    assert sorted(answer.pointers) == sorted(pointers), answer.document
    listed = await made.api.get("/v1/tasks")
    assert listed.document["items"] == []
    assert (await made.api.get("/healthz")).status == 200
    return answer.document


def without(name):
    return {key: value for key, value in DUB.items() if key != name}


FIELD_MISTAKES = {
    "kind missing": (without("kind"), "#/kind", "is missing"),
    "kind unknown": (DUB | {"kind": "dubb"}, "#/kind", "did you mean dub?"),
    "kind alias misspelt": (DUB | {"kind": "text-to-speach"}, "#/kind", "did you mean tts?"),
    "kind like nothing": (DUB | {"kind": "qqqq"}, "#/kind", "GET /v1/kinds"),
    "kind empty": (DUB | {"kind": ""}, "#/kind", "no kind"),
    "kind number": (DUB | {"kind": 5}, "#/kind", "string"),
    "kind null": (DUB | {"kind": None}, "#/kind", "string"),
    "kind huge": (DUB | {"kind": "x" * 500_000}, "#/kind", "no kind"),
    "task_id missing": (without("task_id"), "#/task_id", "is missing"),
    "task_id empty": (DUB | {"task_id": ""}, "#/task_id", "empty"),
    "task_id 201 characters": (DUB | {"task_id": "x" * 201}, "#/task_id", "200 are allowed"),
    "task_id 10,000 characters": (DUB | {"task_id": "x" * 10_000}, "#/task_id", "200 are allowed"),
    "task_id NUL": (DUB | {"task_id": "a\0b"}, "#/task_id", "control"),
    "task_id line break": (DUB | {"task_id": "a\r\nX-Header: b"}, "#/task_id", "control"),
    "task_id line separator": (DUB | {"task_id": "a\u2028b"}, "#/task_id", "control"),
    "task_id delete": (DUB | {"task_id": "a\x7f"}, "#/task_id", "control"),
    "task_id dot": (DUB | {"task_id": "."}, "#/task_id", "another path"),
    "task_id two dots": (DUB | {"task_id": ".."}, "#/task_id", "another path"),
    "task_id null as a text": (DUB | {"task_id": "null"}, "#/task_id", "a missing value: give the task_id that Camb"),
    "task_id unfilled": (DUB | {"task_id": "{{task_id}}"}, "#/task_id", "give the task_id that Camb returned"),
    "task_id in quotes": (DUB | {"task_id": '"a1"'}, "#/task_id", "a quote: remove it"),
    "task_id with a line break behind it": (DUB | {"task_id": "a1\n"}, "#/task_id", "white space"),
    "task_id number": (DUB | {"task_id": 12}, "#/task_id", "string"),
    "task_id list": (DUB | {"task_id": ["a"]}, "#/task_id", "string"),
    "name number": (DUB | {"name": 3}, "#/name", "string"),
    "name empty": (DUB | {"name": ""}, "#/name", "empty"),
    "name long": (DUB | {"name": "x" * 201}, "#/name", "200"),
    "name that clears a terminal": (DUB | {"name": "a\x1b[2J"}, "#/name", "control"),
    "labels list": (DUB | {"labels": ["a"]}, "#/labels", "object"),
    "label number": (DUB | {"labels": {"show": 1}}, "#/labels/show", "string"),
    "label null": (DUB | {"labels": {"a/b~c": None}}, "#/labels/a~1b~0c", "string"),
    "label without name": (DUB | {"labels": {"": "x"}}, "#/labels/", "empty"),
    "label called [key]": (DUB | {"labels": {"[key]": 1}}, "#/labels/%5Bkey%5D", "string"),
    "label long": (DUB | {"labels": {"a": "x" * 257}}, "#/labels/a", "256"),
    "label with long name": (DUB | {"labels": {"n" * 65: "x"}}, "#/labels/" + "n" * 65, "64"),
    "label line break": (DUB | {"labels": {"a": "x\ny"}}, "#/labels/a", "control"),
    "33 labels": (DUB | {"labels": {str(number): "" for number in range(33)}}, "#/labels", "32"),
    "notify text": (DUB | {"notify": "pipeline"}, "#/notify", "array"),
    "notify object": (DUB | {"notify": {"pipeline": True}}, "#/notify", "array"),
    "notify number": (DUB | {"notify": ["pipeline", 5]}, "#/notify/1", "string"),
    "notify unknown": (DUB | {"notify": ["pipelin"]}, "#/notify/0", "did you mean pipeline?"),
    "notify unknown and huge": (DUB | {"notify": ["x" * 500_000]}, "#/notify/0", "no destination"),
    "notify too many": (DUB | {"notify": ["pipeline"] * 65}, "#/notify", "64"),
    "group number": (DUB | {"group": 5}, "#/group", "string"),
    "group empty": (DUB | {"group": ""}, "#/group", "empty"),
    "group long": (DUB | {"group": "x" * 201}, "#/group", "200"),
    "group_size text": (DUB | {"group_size": "5"}, "#/group_size", "whole number"),
    "group_size fraction": (DUB | {"group_size": 1.5}, "#/group_size", "whole number"),
    "group_size boolean": (DUB | {"group_size": True}, "#/group_size", "whole number"),
    "group_size zero": (DUB | {"group_size": 0}, "#/group_size", "1"),
    "group_size beyond 64 bits": (DUB | {"group_size": 1 << 70}, "#/group_size", "1000000"),
    "account unknown": (DUB | {"account": "studio-c"}, "#/account", "did you mean studio-b?"),
    "account empty": (DUB | {"account": ""}, "#/account", "no account"),
    "account null": (DUB | {"account": None}, "#/account", "string"),
    "account long": (DUB | {"account": "x" * 65}, "#/account", "64"),
    "deadline number": (DUB | {"deadline": 5}, "#/deadline", "string"),
    "deadline in words": (DUB | {"deadline": "soon"}, "#/deadline", "no duration"),
    "deadline of nothing": (DUB | {"deadline": "0s"}, "#/deadline", "longer than nothing"),
    "deadline negative": (DUB | {"deadline": "-5s"}, "#/deadline", "no duration"),
    "deadline of eleven years": (DUB | {"deadline": "4000d"}, "#/deadline", "ten years"),
    "extra list": (DUB | {"extra": []}, "#/extra", "object"),
    "extra of 33": (DUB | {"extra": {str(number): 1 for number in range(33)}}, "#/extra", "32"),
    "unknown field": (DUB | {"callback": "x"}, "#/callback", "not known"),
    "field misspelt": (DUB | {"lables": {}}, "#/lables", "did you mean labels?"),
    "array instead of one": ([[DUB]], "#/0", "object"),
    "text": ("dub", "#", "object"),
    "number": (5, "#", "object"),
    "null": (None, "#", "object"),
    "empty array": ([], "#", "empty"),
    "array of 1001": ([DUB | {"task_id": str(number)} for number in range(1001)], "#", "1000 are allowed"),
    "array with one bad element": ([DUB, DUB | {"task_id": "b", "group": 1}, DUB], "#/1/group", "string"),
    "array with a stranger": ([DUB, DUB | {"notify": ["nobody"]}], "#/1/notify/0", "no destination"),
}


@pytest.mark.parametrize(("document", "pointer", "words"), FIELD_MISTAKES.values(), ids=FIELD_MISTAKES)
async def test_a_mistake_is_named_with_its_place_and_nothing_is_stored(shared, document, pointer, words):
    answer = await shared.api.post(None, body=json.dumps(document).encode())
    problem = await refused(shared, answer, 422, pointer)
    assert words in problem["errors"][0]["detail"]
    assert len(answer.body) < 2000


async def test_all_mistakes_of_all_elements_are_reported_together(shared):
    wishes = [DUB | {"kind": 1, "name": 2}, DUB, {"task_id": "", "notify": ["x"], "account": 1}]
    problem = await refused(
        shared, await shared.api.post(wishes), 422, "#/0/kind", "#/0/name", "#/2/kind", "#/2/task_id", "#/2/account"
    )
    assert problem["detail"].startswith("5 mistakes; nothing was stored")


async def test_a_hundred_mistakes_are_listed_and_the_rest_is_counted(shared):
    answer = await shared.api.post([DUB | {str(field): 1 for field in range(60)}] * 1000)
    assert len(answer.document["errors"]) == 100
    assert answer.document["detail"] == "60000 mistakes; nothing was stored; the first 100 are listed"
    strangers = await shared.api.post([DUB | {"notify": ["pipelines"] * 60}] * 1000)
    assert len(strangers.document["errors"]) == 100
    assert strangers.document["detail"].startswith("60000 mistakes")


NOT_JSON = {
    "empty": b"",
    "cut": b'{"kind": "dub", "task_id": "a"',
    "single quotes": b"{'kind': 'dub'}",
    "comma at the end": b'{"kind": "dub", "task_id": "a",}',
    "two documents": b'{"kind": "dub", "task_id": "a"}{}',
    "form": b"kind=dub&task_id=a",
    "NaN": b'{"kind": "dub", "task_id": "a", "extra": {"x": NaN}}',
    "Infinity": b'{"kind": "dub", "task_id": "a", "extra": {"x": -Infinity}}',
    "number that becomes infinite": b'{"kind": "dub", "task_id": "a", "extra": {"x": 1e999}}',
    "number of 5000 digits": b'{"kind": "dub", "task_id": "a", "extra": {"x": ' + b"1" * 5000 + b"}}",
    "lone surrogate": b'{"kind": "dub", "task_id": "a\\ud800b"}',
    "lone low surrogate in a name": b'{"kind": "dub", "task_id": "a", "name": "\\udc00"}',
    "not UTF-8": b'{"kind": "dub", "task_id": "\xff\xfe"}',
    "two byte order marks": b'\xef\xbb\xbf\xef\xbb\xbf{"kind": "dub", "task_id": "a"}',
    "byte order mark alone": b"\xef\xbb\xbf",
    "raw control character": b'{"kind": "dub", "task_id": "a\x00b"}',
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"extra":' * 50_000 + b"1" + b"}" * 50_000,
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
async def test_what_is_no_json_is_refused_as_a_whole(shared, body):
    problem = await refused(shared, await shared.api.post(None, body=body), 400, "#")
    assert problem["detail"].startswith("the body is not JSON: ")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
async def test_another_encoding_than_utf_8_is_refused_with_what_to_send(shared, encoding):
    body = '{"kind": "dub", "task_id": "a"}'.encode(encoding)
    problem = await refused(shared, await shared.api.post(None, body=body), 400, "#")
    assert problem["detail"].startswith(f"the body is not JSON: it is encoded as {encoding[:6].upper()}")
    assert problem["detail"].endswith("; send it as UTF-8")


REPEATED = {
    "field": (b'{"kind": "dub", "task_id": "a", "task_id": "b"}', ["#/task_id"]),
    "field of the second": (
        b'[{"kind": "dub", "task_id": "a"}, {"kind": "dub", "task_id": "b", "kind": "tts"}]',
        ["#/1/kind"],
    ),
    "label": (b'{"kind": "dub", "task_id": "a", "labels": {"a/b": "1", "a/b": "1"}}', ["#/labels/a~1b"]),
    "deep in extra": (b'{"kind": "dub", "task_id": "a", "extra": {"x": [0, {"y": 1, "y": 2}]}}', ["#/extra/x/1/y"]),
    "two places": (b'[{"kind": "dub", "kind": "dub"}, {"name": "a", "name": "b"}]', ["#/0/kind", "#/1/name"]),
}


@pytest.mark.parametrize(("body", "pointers"), REPEATED.values(), ids=REPEATED)
async def test_a_name_that_stands_twice_in_an_object_is_refused(shared, body, pointers):
    await refused(shared, await shared.api.post(None, body=body), 422, *pointers)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_2_mib_is_refused(shared, chunked):
    body = b'{"kind": "dub", "task_id": "a", "name": "' + b"x" * (2 * MIB) + b'"}'

    async def pieces():
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    await refused(shared, await shared.api.post(None, body=pieces() if chunked else body), 413, "#")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense", ""],
)
async def test_another_content_type_is_refused(shared, content_type):
    answer = await shared.api.post(DUB, headers={"content-type": content_type})
    await refused(shared, answer, 415, "content-type")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "unheard-of"])
async def test_a_compressed_body_is_refused(shared, coding):
    answer = await shared.api.post(None, body=b"\x1f\x8b\x08", headers={"content-encoding": coding})
    await refused(shared, answer, 415, "content-encoding")


@pytest.mark.parametrize(
    ("query", "parameter", "words"),
    [
        ("statuss=ERROR", "statuss", "did you mean status?"),
        ("filter=x", "filter", "known here"),
        ("status=DONE", "status", "PENDING"),
        ("status=", "status", "none of"),
        ("kind=dubb", "kind", "did you mean dub?"),
        ("kind=dub,", "kind", "no kind"),
        ("label=show", "label", "name:value"),
        ("label=:x", "label", "name:value"),
        ("label=a:1&label=a:2", "label", "two values"),
        ("limit=0", "limit", "1 to 1000"),
        ("limit=1001", "limit", "1 to 1000"),
        ("limit=ten", "limit", "1 to 1000"),
        ("limit=%D9%A3", "limit", "1 to 1000"),  # an Arabic 3
        ("limit=1&limit=2", "limit", "more than once"),
        ("cursor=", "cursor", "no cursor"),
        ("cursor=%21%21", "cursor", "no cursor"),
        ("cursor=LTU", "cursor", "no cursor"),  # -5
        ("cursor=IDU", "cursor", "no cursor"),  # 5, after a space
        ("cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ", "cursor", "no cursor"),  # beyond 64 bits
        ("group=a&group=b", "group", "more than once"),
    ],
)
async def test_a_listing_that_was_not_understood_is_refused(shared, query, parameter, words):
    answer = await shared.api.get(f"/v1/tasks?{query}")
    assert (answer.status, answer.pointers) == (422, [parameter])
    assert words in answer.document["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("method", "path", "parameter"),
    [
        ("GET", "/v1/tasks/dubb/a", "kind"),
        ("GET", "/v1/tasks/dub/%2e%2e", "task_id"),
        ("GET", "/v1/tasks/dub/%00", "task_id"),
        ("GET", "/v1/tasks/dub/" + "x" * 201, "task_id"),
        ("DELETE", "/v1/tasks/nothing/a", "kind"),
        ("POST", "/v1/tasks/dubb/a/poll", "kind"),
        ("GET", "/v1/tasks/dub/a?wait=60", "wait"),
        ("GET", "/v1/tasks/dub/a?wait=11m", "wait"),
        ("GET", "/v1/tasks/dub/a?wait=5s&wait=6s", "wait"),
        ("GET", "/v1/tasks/dub/a?acount=b", "acount"),
        ("DELETE", "/v1/tasks/dub/a?wait=5s", "wait"),
        ("POST", "/v1/tasks?wait=5s", "wait"),
        ("GET", "/v1/groups/a?limit=5", "limit"),
        ("GET", "/v1/kinds?kind=dub", "kind"),
        ("GET", "/readyz?verbose", "verbose"),
    ],
)
async def test_a_path_or_query_that_was_not_understood_is_refused(shared, method, path, parameter):
    answer = await shared.api.ask(method, path, {} if method == "POST" else None)
    assert (answer.status, answer.pointers) == (422, [parameter])
