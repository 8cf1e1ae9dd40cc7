"""Whether Camb itself refused a request, or something between Camb and cambwatch."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.camb.replies import REFUSALS, CambRefusal, camb_refusal

MISTAKE = {"loc": ["path", "task_id"], "msg": "Input should be a valid UUID", "type": "uuid_parsing"}
KEY_MISSING = {"loc": ["header", "x-api-key"], "msg": "Field required", "type": "missing"}

CAMBS = [
    (401, {"error": "Invalid API key", "status": 401}, CambRefusal("Invalid API key")),
    (401, {"detail": "Not authenticated"}, CambRefusal("Not authenticated")),
    (403, {"detail": "This run belongs to another team"}, CambRefusal("This run belongs to another team")),
    (403, {"error": {"msg": "no"}, "status": 403}, CambRefusal({"msg": "no"})),
    (404, {"detail": "Task not found"}, CambRefusal("Task not found")),
    (404, {"detail": "not found"}, CambRefusal("not found")),
    (404, {"detail": {"msg": "no such task"}}, CambRefusal({"msg": "no such task"})),
    (404, {"detail": "Task not found", "code": 17}, CambRefusal("Task not found")),
    (410, {"detail": "The run was deleted"}, CambRefusal("The run was deleted")),
    (422, {"detail": "bad id"}, CambRefusal("bad id")),
    (422, {"detail": [MISTAKE]}, CambRefusal(MISTAKE["msg"])),
    (422, {"detail": [KEY_MISSING, MISTAKE]}, CambRefusal(KEY_MISSING["msg"])),
    (422, {"detail": [{"msg": "bad", "type": "x"}]}, CambRefusal("bad")),
    (422, {"detail": [KEY_MISSING]}, CambRefusal(KEY_MISSING["msg"], about_path=False)),
]

FOREIGN = {
    "an empty body": b"",
    "blanks": b" \r\n ",
    "Traefik, Go": b"404 page not found\n",
    "ingress-nginx": b"default backend - 404",
    "Envoy": b"no healthy upstream",
    "nginx": b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body></body></html>",
    "XML of a bucket": b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>',
    "a page after a byte order mark": b"\xef\xbb\xbf<!doctype html>",
    "bytes": bytes(range(256)),
    "Kong": {"message": "no Route matched with those values"},
    "Kong with a request id": {"message": "no Route matched with those values", "request_id": "1f"},
    "AWS": {"message": "Forbidden"},
    "AWS, older": {"Message": "User is not authorized to access this resource"},
    "Azure": {"statusCode": 404, "message": "Resource not found"},
    "Google": {"error": {"code": 404, "message": "Method not found.", "status": "NOT_FOUND"}},
    "Google ESP": {"code": 5, "message": "Method does not exist.", "details": []},
    "Apigee": {"fault": {"faultstring": "Unable to identify proxy", "detail": {"errorcode": "x"}}},
    "Tyk": {"error": "Requested endpoint is forbidden"},
    "Spring": {"timestamp": "2026-11-30T20:00:00Z", "status": 404, "error": "Not Found", "path": "/apis/dub/x"},
    "problem details": {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "No route"},
    "problem details without a type": {"title": "Forbidden", "detail": "Blocked by policy"},
    "a missing route of FastAPI": {"detail": "Not Found"},
    "a missing route in the other form": {"error": "Not Found", "status": 404},
    "Rails, Express": {"status": 404, "error": "Not found"},
    "a reason phrase": {"status": 410, "error": "Gone"},
    "the reason phrase of 422": {"status": 422, "error": "Unprocessable Content"},
    "another status than that of the answer": {"error": "Invalid API key", "status": 200},
    "a status that is not a number": {"error": "Invalid API key", "status": "error"},
    "a status that is a truth": {"error": "Invalid API key", "status": True},
    "an error alone": {"error": "Invalid API key"},
    "a detail of nothing": {"detail": None},
    "an empty detail": {"detail": ""},
    "a blank detail": {"detail": " "},
    "no mistakes": {"detail": []},
    "mistakes without a message": {"detail": ["no"]},
    "a number": {"detail": 404},
    "a status": {"status": "ERROR", "run_id": 7},
    "an empty object": {},
    "a list": [{"detail": "Task not found"}],
    "a text": "Task not found",
    "null": None,
    "too deep": b'{"detail":' * 100_000,
    "too long": b'{"detail": "' + b"x" * (1 << 20) + b'"}',
}


@pytest.mark.parametrize(("http_status", "document", "refusal"), CAMBS)
def test_a_refusal_in_cambs_form_counts_as_cambs(http_status: int, document: object, refusal: CambRefusal) -> None:
    assert camb_refusal(http_status, json.dumps(document).encode()) == refusal


@pytest.mark.parametrize("http_status", sorted(REFUSALS))
@pytest.mark.parametrize("said", FOREIGN.values(), ids=FOREIGN)
def test_a_refusal_in_any_other_form_does_not_count(http_status: int, said: object) -> None:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    assert camb_refusal(http_status, body) is None


def test_an_undecodable_byte_does_not_hide_cambs_form() -> None:
    assert camb_refusal(404, b'{"detail": "caf\xe9 not found"}') == CambRefusal(
        "caf\N{REPLACEMENT CHARACTER} not found"
    )


@given(st.sampled_from(sorted(REFUSALS)), st.binary(max_size=200) | st.text().map(str.encode))
def test_a_body_that_is_not_json_never_counts(http_status: int, body: bytes) -> None:
    if not body.lstrip().startswith(b"{"):
        assert camb_refusal(http_status, body) is None
