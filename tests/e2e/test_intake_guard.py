"""Who may call the intake: programs on this machine, with the token where one is set, and no web page."""

import asyncio
import socket
import stat
from urllib.parse import urlsplit

import pytest
from api import Api

from cambwatch.web.guard import LOCAL_HOSTS, is_known_host

DUB = {"kind": "dub", "task_id": "a"}
TOKEN = "a-token-that-nobody-guesses"
WITH_TOKEN = f"http: {{token: {TOKEN}}}"
SHARED = ""
in_one_loop = pytest.mark.asyncio(loop_scope="module")


async def is_untouched(made):
    """Whether the daemon is alive and stored nothing."""
    alive = (await made.api.get("/healthz")).status == 200
    return alive and (await made.api.get("/v1/tasks")).document["items"] == []


@in_one_loop
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:{port}",
        "10.0.0.1:{port}",
        "[::2]:{port}",
        "::1",
    ],
)
async def test_an_unknown_host_is_refused(shared, host):
    """A page that rebinds its name to 127.0.0.1 still sends its name."""
    headers = {"host": host.format(port=urlsplit(shared.url).port)}
    for answer in (await shared.api.post(DUB, headers=headers), await shared.api.get("/healthz", headers=headers)):
        assert answer.status == 421
        assert "http.allowed_hosts" in answer.document["detail"]
    assert await is_untouched(shared)


WITHOUT_HOST = {
    "haproxy": b"{method} {path} HTTP/1.0\r\n\r\n",
    "keepalived": b"{method} {path} HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\n\r\n",
    "empty": b"{method} {path} HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
    "blank": b"{method} {path} HTTP/1.0\r\nHost:  \t \r\n\r\n",
}


async def status_of(made, request, *, method, path):
    """The status of the answer to *request*, whose target is *path*."""
    address = urlsplit(made.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request.replace(b"{method}", method.encode()).replace(b"{path}", path.encode()))
    came = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return int(came.split(b" ", 2)[1])


@in_one_loop
@pytest.mark.parametrize("request_", WITHOUT_HOST.values(), ids=WITHOUT_HOST)
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_checks_without_a_host_are_answered(shared, request_, path, method):
    expected = 422 if "?" in path else 200  # an unknown parameter is refused later, as on every page
    assert await status_of(shared, request_, method=method, path=path) == expected


@in_one_loop
@pytest.mark.parametrize("request_", WITHOUT_HOST.values(), ids=WITHOUT_HOST)
@pytest.mark.parametrize("path", ["/", "/v1/tasks", "/metrics", "/openapi.json", "/healthz/", "/readyzz", "//healthz"])
async def test_every_other_page_needs_a_host(shared, request_, path):
    assert await status_of(shared, request_, method="GET", path=path) == 421


@in_one_loop
@pytest.mark.parametrize("path", ["/healthz", "/v1/tasks"])
async def test_http_1_1_without_a_host_header_is_malformed(shared, path):
    """RFC 9112, section 3.2."""
    assert await status_of(shared, b"GET {path} HTTP/1.1\r\n\r\n", method="GET", path=path) == 400


@in_one_loop
async def test_without_a_host_no_origin_is_ours(shared):
    request = b"GET /healthz HTTP/1.0\r\nOrigin: http://\r\n\r\n"
    assert await status_of(shared, request, method="GET", path="/healthz") == 403


@pytest.mark.parametrize(
    ("host", "path", "known"),
    [
        ("localhost", "/v1/tasks", True),
        ("localhost:8787", "/healthz", True),
        ("", "/healthz", True),
        ("", "/readyz", True),
        ("", "/metrics", False),
        ("", "/v1/tasks", False),
        ("10.0.0.1", "/healthz", False),
        ("balancer.example", "/readyz", False),
    ],
)
def test_a_host_is_known_or_missing_on_a_health_page(host, path, known):
    assert is_known_host(host, path, hosts=LOCAL_HOSTS) is known


@in_one_loop
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1", "[::1]:{port}", "[::1]", "localhost:1"])
async def test_the_names_of_this_machine_are_known(shared, host):
    headers = {"host": host.format(port=urlsplit(shared.url).port)}
    assert (await shared.api.get("/v1/tasks", headers=headers)).status == 200


async def test_further_hosts_can_be_named(daemon):
    made = await daemon("http: {allowed_hosts: [Watch.example]}")
    assert (await made.api.post(DUB, headers={"host": "watch.example:8787"})).status == 201
    assert (await made.api.post(DUB, headers={"host": "watch.example.org"})).status == 421


@in_one_loop
@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "http://evil.localhost:{port}", "http://evillocalhost:{port}", "http://localhost:1"),
        *("https://localhost", "http://localhost:{port}.evil.example", "http://[bad", "null", "", "file://", "\u00e9"),
    ],
)
async def test_a_page_of_another_origin_is_refused(shared, origin):
    port = urlsplit(shared.url).port
    headers = {"host": f"localhost:{port}", "origin": origin.format(port=port)}
    for method in ("POST", "GET", "DELETE"):
        answer = await shared.api.ask(method, "/v1/tasks/dub/a", {}, headers=headers)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert await is_untouched(shared)


@in_one_loop
async def test_our_own_origin_may_call(shared):
    host = f"localhost:{urlsplit(shared.url).port}"
    answer = await shared.api.get("/v1/tasks", headers={"host": host, "origin": f"http://{host}"})
    assert answer.status == 200


@in_one_loop
@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("same-site", 403), ("nonsense", 403), ("same-origin", 415), ("none", 415)],
)
async def test_a_request_from_another_site_is_refused(shared, site, status):
    """What is let in goes on to the next check, which refuses it here for another reason."""
    answer = await shared.api.post(DUB, headers={"sec-fetch-site": site, "content-type": "text/plain"})
    assert answer.status == status


@in_one_loop
async def test_a_preflight_gets_no_permission(shared):
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for headers in (asked, asked | {"origin": "http://evil.example"}):
        answer = await shared.api.ask("OPTIONS", "/v1/tasks", headers=headers)
        assert answer.status in {403, 405}
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@in_one_loop
@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "PROPFIND"])
async def test_a_method_that_a_path_does_not_take_is_refused_with_those_that_it_does(shared, method):
    answer = await shared.api.ask(method, "/v1/tasks", {})
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert await is_untouched(shared)


@in_one_loop
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/tasks", "/v1/kinds", "/openapi.json"])
async def test_head_answers_as_get_does_without_a_body(shared, path):
    answer = await shared.api.ask("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


@in_one_loop
@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/tasks/", "/v1/tasks/dub", "/V1/tasks", "//v1/tasks", "/v1/../healthz"]
)
async def test_an_unknown_path_is_not_found(shared, path):
    answer = await shared.api.get(path)
    assert answer.status == 404
    assert "/openapi.json" in answer.document["detail"]


GIVEN = [
    "Bearer wrong",
    "Bearer",
    "",
    "Basic YTpi",
    f"Basic {TOKEN}",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    TOKEN,
    "Bearer \u00e9",
]


async def test_without_the_token_nothing_but_the_health_is_told(daemon):
    made = await daemon(WITH_TOKEN)
    stranger = Api(made.url)
    assert await is_untouched(made)
    stranger.described_by(made.api)
    paths = ["/v1/tasks", "/v1/tasks/dub/a", "/v1/kinds", "/readyz", "/openapi.json", "/v1/groups/g", "/nowhere"]
    asked = [("POST", "/v1/tasks"), ("DELETE", "/v1/tasks/dub/a"), *(("GET", path) for path in paths)]
    for given in GIVEN:
        for method, path in asked:
            body = DUB if method == "POST" else None
            answer = await stranger.ask(method, path, body, headers={"authorization": given})
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), given
        assert (await stranger.get("/healthz", headers={"authorization": given})).status == 200
    assert await is_untouched(made)


async def test_with_the_token_everything_is_open(daemon):
    made = await daemon(WITH_TOKEN)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (await made.api.get("/v1/tasks", headers={"authorization": f"{scheme} {TOKEN}"})).status == 200
    assert (await made.api.post(DUB)).status == 201


async def test_the_token_does_not_open_the_door_to_web_pages(daemon):
    made = await daemon(WITH_TOKEN)
    assert (await made.api.post(DUB, headers={"origin": "http://evil.example"})).status == 403
    assert (await made.api.post(DUB, headers={"host": "evil.example"})).status == 421


async def test_a_limit_that_is_set_holds_for_every_address_and_says_when_to_come_again(daemon):
    made = await daemon("http: {requests_per_second: 3}")
    answers = [await made.api.get("/v1/kinds") for _ in range(9)]
    assert {answer.status for answer in answers} == {200, 429}
    assert answers[-1].headers["retry-after"] == "1"
    assert "http.requests_per_second" in answers[-1].document["detail"]


async def test_a_unix_socket_is_open_to_owner_and_group_and_takes_any_host(daemon, tmp_path):
    path = tmp_path / "s"
    made = await daemon(f"http: {{listen: 'unix:{path}'}}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert (await made.api.post(DUB, headers={"host": "anything"})).status == 201
    assert (await made.api.get("/v1/tasks/dub/a", headers={"origin": "http://evil.example"})).status == 403


async def test_a_unix_socket_that_a_killed_daemon_left_is_taken_over(daemon, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    made = await daemon(f"http: {{listen: 'unix:{path}'}}")
    assert (await made.api.get("/healthz")).status == 200
