"""What a right configuration means: its values as the rest of the program knows them."""

from datetime import timedelta

import pytest
from config_samples import HOOK, KEY, SECRET, config, mistakes, read
from pydantic import ValidationError

from cambwatch.config import Config, ConfigError, TcpListen, UnixListen, daemon_api, find, load
from cambwatch.core.accounts import Account
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.delivery.retry import RetryPolicy
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import Registration, Status, TaskKey
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Condition, Destination, RateLimit, Route

HOUR = timedelta(hours=1)


def test_an_api_key_is_enough():
    """All else has a default, and the defaults of the core are those of the file."""
    loaded = read(KEY)
    found = loaded.config
    assert found.accounts == {"default": Account("default", Secret("abcdef"))}
    assert found.poll_policy("dub") == PollPolicy()
    assert (found.destinations, found.routes, found.registrations) == ({}, (), ())
    assert found.store.url == "sqlite:///cambwatch.db"
    assert found.http.listen == TcpListen("127.0.0.1", 8787)
    assert (found.http.bearer, found.http.allowed_hosts) == (None, ())
    assert (found.results.fetch, found.results.repeat_alt_format) == (True, False)
    assert (found.log.level, found.log.format) == ("info", "auto")
    assert loaded.warnings == ()
    assert loaded.secrets == (Secret("abcdef"),)


def test_sections_may_stand_empty():
    """Everything below a key can be commented out."""
    sections = ["camb", "polling", "results", "store", "http", "destinations", "routes", "tasks", "log"]
    text = "".join(f"{name}:\n" for name in sections if name != "camb")
    assert read(text + KEY).config == read(KEY).config
    assert config("polling: {kinds: }\ndestinations: {a: {type: slack, url: 'https://a.b', retry: , headers: }}\n")


def test_an_account_takes_from_camb_what_it_leaves_out():
    """Each key has its own budget, the figures of which are shared."""
    text = """
camb:
  base_url: https://example.com/apis/
  requests_per_second: 2.5
  concurrency: 3
  timeout: 4s
  accounts:
    b: {api_key: b-key}
    c: {api_key: c-key, base_url: "http://127.0.0.1:80/c", requests_per_second: 7, concurrency: 8, timeout: 9s}
"""
    loaded = read(text)
    assert loaded.config.accounts == {
        "b": Account("b", Secret("b-key"), "https://example.com/apis", 2.5, 3, timedelta(seconds=4)),
        "c": Account("c", Secret("c-key"), "http://127.0.0.1:80/c", 7, 8, timedelta(seconds=9)),
    }
    assert loaded.warnings == ()


def test_a_key_that_travels_in_the_clear_is_a_warning():
    """To this machine it does not travel."""
    loaded = read("camb: {api_key: a, base_url: 'http://example.com'}")
    assert loaded.warnings == ("c.yaml:1:30: camb.base_url: the API key goes over the network unencrypted: use https",)


def test_a_deadline_is_the_tasks_then_the_kinds_then_that_of_polling():
    """The nearest word counts, whichever of its names the kind is given by."""
    text = """
polling: {deadline: 3h, interval: 2s, kinds: {end-to-end-dubbing: {deadline: 2h, interval: 30s, not_found_grace: 0s}}}
tasks:
  - {kind: dub, task_id: a, deadline: 1h}
  - {kind: dub, task_id: b}
  - {kind: tts, task_id: c}
"""
    found = config(text)
    assert [task.deadline / HOUR for task in found.registrations] == [1, 2, 3]
    seconds = timedelta(seconds=1)
    assert found.poll_policy("dub") == PollPolicy(
        interval=30 * seconds, deadline=2 * HOUR, not_found_grace=timedelta(0)
    )
    assert found.poll_policy("tts") == PollPolicy(interval=2 * seconds, deadline=3 * HOUR)


def test_a_task_becomes_a_registration():
    """With everything that it can say, each in the core's own type."""
    text = """
tasks:
  - kind: Voice
    task_id: 6a1f
    name: Narrator ✅
    labels: {show: pilot, season: 01, empty: ''}
    notify: hook
    group: g
    group_size: 3
    extra: {language: 54, id: "54", share: 1.5, list: [1, true, null, a], nested: {below: -3}, on: 0x1F}
  - {kind: tts, task_id: a/b?c, notify: []}
"""
    first, second = config(HOOK + text).registrations
    assert first == Registration(
        key=TaskKey("default", "text-to-voice", "6a1f"),
        name="Narrator ✅",
        labels={"show": "pilot", "season": "01", "empty": ""},
        notify=("hook",),
        group="g",
        group_size=3,
        extra={
            "language": 54,
            "id": "54",
            "share": 1.5,
            "list": [1, True, None, "a"],
            "nested": {"below": -3},
            "on": "0x1F",
        },
    )
    assert second == Registration(TaskKey("default", "tts", "a/b?c"), notify=())


def test_destinations_become_the_cores():
    """Defaults differ by type: old news clutters a chat."""
    text = f"""
destinations:
  slack: {{type: Slack, url: https://hooks.slack.com/services/a}}
  hook:
    type: webhook
    url: http://127.0.0.1:9/a
    secret: {SECRET}
    headers: {{X-Team: dub bing}}
    timeout: 2s
    concurrency: 9
    rate: 30/m
    retry: {{first: 1s, factor: 1.5, max: 10s, give_up_after: 1h}}
    allow_private: yes
"""
    seconds = timedelta(seconds=1)
    assert config(text).destinations == {
        "slack": Destination(
            "slack",
            "slack",
            Secret("https://hooks.slack.com/services/a"),
            retry=RetryPolicy(give_up_after=24 * HOUR),
        ),
        "hook": Destination(
            "hook",
            "webhook",
            Secret("http://127.0.0.1:9/a"),
            secrets=(Secret(SECRET),),
            headers={"x-team": Secret("dub bing")},
            timeout=2 * seconds,
            concurrency=9,
            rate=RateLimit(0.5, burst=1),
            retry=RetryPolicy(seconds, 1.5, 10 * seconds, HOUR),
            allow_private=True,
        ),
    }
    assert list(config(text).destinations) == ["slack", "hook"]


def test_each_type_that_is_accepted_has_a_format():
    """What the configuration takes can be rendered, and what can be rendered can be configured."""
    for name in FORMATS:
        url, more = ("json://a.b", ", allow_private: true") if name == "apprise" else ("https://a.b", "")
        text = f"destinations: {{a: {{type: {name}, url: '{url}'{more}}}}}\n"
        assert config(text).destinations["a"].type == name
    [line] = mistakes(KEY + "destinations: {a: {type: zzz, url: 'https://a.b'}}")
    assert line.endswith(f"(known: {', '.join(FORMATS)})")


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("10/s", RateLimit(10, 10)),
        ("2.5/s", RateLimit(2.5, 2)),
        ("30/m", RateLimit(0.5, 1)),
        ("120 / m", RateLimit(2, 2)),
        ("36/h", RateLimit(0.01, 1)),
        ("null", None),
    ],
)
def test_a_rate_bursts_for_one_second(written, rate):
    """At least one request, however slow the rate."""
    text = f"destinations: {{a: {{type: webhook, url: 'https://a.b', rate: {written}}}}}\n"
    assert config(text).destinations["a"].rate == rate


def test_routes_become_the_cores():
    """One value or a list of them, in any case and by any name."""
    text = """
routes:
  - when: {event: task, status: [error, TIMEOUT], kind: [sub, dub], account: default, group: g, label: {team: 7}}
    notify: [hook, hook]
  - notify: hook
  - {when: , notify: hook}
"""
    everything = Route(Condition(), ("hook",))
    assert config(HOOK + text).routes == (
        Route(
            Condition(
                events=frozenset({"task"}),
                statuses=frozenset({Status.ERROR, Status.TIMEOUT}),
                kinds=frozenset({"subtitles", "dub"}),
                accounts=frozenset({"default"}),
                groups=frozenset({"g"}),
                labels={"team": "7"},
            ),
            ("hook",),
        ),
        everything,
        everything,
    )


@pytest.mark.parametrize(
    ("written", "listen", "loopback"),
    [
        ("127.0.0.1:1", TcpListen("127.0.0.1", 1), True),
        ("localhost:0", TcpListen("localhost", 0), True),
        ("'[::1]:65535'", TcpListen("::1", 65535), True),
        ("unix:/run/a b.sock", UnixListen("/run/a b.sock"), True),
        ("0.0.0.0:80", TcpListen("0.0.0.0", 80), False),
        ("'[::]:80'", TcpListen("::", 80), False),
        ("host.example:80", TcpListen("host.example", 80), False),
    ],
)
def test_listen_is_an_address_or_a_path(written, listen, loopback):
    """Beyond loopback and Unix sockets it takes a token."""
    assert config(f"http: {{listen: {written}, token: t}}\n").http.listen == listen
    assert listen.loopback is loopback
    assert mistakes(KEY + f"http: {{listen: {written}}}") == (
        []
        if loopback
        else [f"2:1: http.token: is missing: whoever reaches {listen} could use cambwatch (or token_file)"]
    )


def test_allowed_hosts_are_as_in_a_host_header():
    """Lower case, IPv6 in brackets, no port."""
    found = config("http: {allowed_hosts: [Host.Example, 10.0.0.1, '::2', '[FE80::1]']}\n").http.allowed_hosts
    assert found == ("host.example", "10.0.0.1", "[::2]", "[fe80::1]")


@pytest.mark.parametrize(
    ("url", "state", "found"),
    [
        (None, None, "sqlite:///cambwatch.db"),
        (None, "/var/lib/cambwatch", "sqlite:////var/lib/cambwatch/cambwatch.db"),
        (None, "/a:/b", "sqlite:////a/cambwatch.db"),
        ("sqlite:///sub/x.db", "/var/lib/cambwatch", "sqlite:////var/lib/cambwatch/sub/x.db"),
        ("sqlite:////abs.db", "/var/lib/cambwatch", "sqlite:////abs.db"),
        ("sqlite:///x.db", None, "sqlite:///x.db"),
    ],
)
def test_a_relative_database_is_in_the_state_directory(url, state, found):
    """Where systemd lists several, the first is ours."""
    text = f"store: {{url: '{url}'}}\n" if url else ""
    assert config(text, {"STATE_DIRECTORY": state} if state else {}).store.url == found


def test_a_configuration_stays_as_it_is():
    """Frozen, and equal to another that says the same: a reload can tell what changed."""
    one, other = config(HOOK), config(HOOK)
    assert one.destinations
    assert one == other
    assert one != config("")
    with pytest.raises(ValidationError):
        one.http = other.http
    with pytest.raises(TypeError):
        one.destinations["b"] = one.destinations["hook"]


def test_a_configuration_can_be_made_without_a_file():
    """Plain values serve as well; only files of secrets need a folder to start from."""
    made = Config.model_validate(
        {
            "camb": {"api_key": "abcdef"},
            "destinations": {"hook": {"type": "webhook", "url": "https://example.com/a"}},
            "polling": {"interval": timedelta(seconds=2)},
        }
    )
    assert made == config(HOOK + "polling: {interval: 2s}\n")
    with pytest.raises(ValidationError, match="together with the file that names it"):
        Config.model_validate({"camb": {"api_key_file": "key"}})


def test_the_file_is_looked_for_where_people_say(tmp_path, monkeypatch):
    """--config, $CAMBWATCH_CONFIG, ./config.yaml, in this order."""
    named, by_environment = tmp_path / "named.yaml", tmp_path / "environment.yaml"
    named.touch()
    by_environment.touch()
    monkeypatch.chdir(tmp_path)
    environ = {"CAMBWATCH_CONFIG": str(by_environment)}
    assert find(str(named), environ) == named
    assert find(None, environ) == by_environment
    (tmp_path / "config.yaml").touch()
    assert find(None, environ) == by_environment
    assert find(None, {}).resolve() == tmp_path / "config.yaml"


def test_no_file_is_an_error_that_says_how_to_make_one(tmp_path):
    """Whoever named it is named."""
    places = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    hint = "copy config.example.yaml to config.yaml and change what you need"
    for path, environ, words in (
        ("/x.yaml", {}, f"/x.yaml: there is no such file (named by --config); {hint}"),
        (None, {"CAMBWATCH_CONFIG": "/y"}, f"/y: there is no such file (named by $CAMBWATCH_CONFIG); {hint}"),
        (
            None,
            {},
            (
                f"{tmp_path}/a.yaml: no configuration: neither {tmp_path}/a.yaml nor {tmp_path}/b.yaml is there, "
                f"and --config names none; {hint}"
            ),
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            find(path, environ, places=places)
        assert str(caught.value) == words


def test_load_reads_files_of_secrets_beside_the_configuration(tmp_path, monkeypatch):
    """Wherever the process was started."""
    (tmp_path / "key").write_text("abc")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "config.yaml").write_text("camb: {api_key_file: key}")
    monkeypatch.chdir("/")
    assert load(tmp_path / "config.yaml", {}).config.accounts["default"].api_key == Secret("abc")
    monkeypatch.chdir(tmp_path)
    assert load(find(None, {}), {}).config.accounts["default"].api_key == Secret("abc")


@pytest.mark.parametrize(
    ("http", "url", "token", "socket"),
    [
        ("{}", "http://127.0.0.1:8787", None, None),
        ("{listen: 0.0.0.0:80, token: t}", "http://127.0.0.1:80", Secret("t"), None),
        ("{listen: '[::]:80', token: t}", "http://[::1]:80", Secret("t"), None),
        ("{listen: unix:/run/a.sock}", "http://localhost", None, "/run/a.sock"),
    ],
)
def test_a_client_finds_the_daemon_without_its_secrets(tmp_path, http, url, token, socket):
    """Mistakes elsewhere, and variables that only the daemon has, are not its business."""
    path = tmp_path / "c.yaml"
    path.write_text(f"camb: {{api_key: '${{CAMB_API_KEY}}'}}\nnonsense: 1\nhttp: {http}\n")
    found = daemon_api(str(path), {})
    assert (found.url, found.token, found.socket) == (url, token, socket)


def test_a_client_is_told_what_is_wrong_with_http(tmp_path):
    """And goes to the default address where there is no file at all."""
    path = tmp_path / "c.yaml"
    for text, line in (
        ("http: {listen: 80}", "1:16: http.listen: '80' must be host:port, such as 127.0.0.1:8787, or unix:/path"),
        (
            "http: {listen: '127.0.0.1:0'}",
            "1:16: http.listen: port 0 means any free port, so clients cannot find it: set a port",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            daemon_api(str(path), {})
        assert str(caught.value) == f"{path}:{line}"
    assert daemon_api(None, {}, places=[tmp_path / "none.yaml"]).url == "http://127.0.0.1:8787"


def test_a_base_url_of_camb_without_its_path_is_doubted() -> None:
    """There, every task would seem unknown."""
    loaded = read("camb: {api_key: abc, base_url: https://client.camb.ai}")
    assert [warning.partition(": ")[2].partition(":")[0] for warning in loaded.warnings] == ["camb.base_url"]
    assert read("camb: {api_key: abc, base_url: https://client.camb.ai/apis/}").warnings == ()
