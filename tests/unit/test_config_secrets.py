"""Secrets of the configuration: where they come from, and that no message shows them."""

import pytest
import yaml
from config_samples import HOOK, KEY, SECRET, mistakes, read

from cambwatch.config import load

CANARY = "canary4711"
KEY_BY_VARIABLE = "camb: {api_key: '${KEY}'}\n"
OTHER_SECRET = "whsec_" + "QkJC" * 8


def secret_file(folder, name, content, *, mode=0o600):
    """A file for a secret."""
    path = folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def texts(secrets):
    """What they hide."""
    return [secret.reveal() for secret in secrets]


def test_every_secret_can_be_in_a_file(tmp_path):
    """Relative to the folder of the configuration, without byte order mark and without the line break at the end."""
    secret_file(tmp_path, "key", b"abc\n")
    secret_file(tmp_path, "studio", b"\xef\xbb\xbfdef\r\n")
    secret_file(tmp_path, "token", b"\xef\xbb\xbfghi")
    secret_file(tmp_path, "url", b"https://example.com/jkl\n")
    secret_file(tmp_path, "sign", SECRET.encode())
    secret_file(tmp_path, "sign2", OTHER_SECRET.encode())
    secret_file(tmp_path, "auth", b"Bearer mno\n")
    loaded = read(
        f"""
camb: {{api_key_file: key, accounts: {{b: {{api_key_file: studio}}}}}}
http: {{token_file: {tmp_path}/token}}
destinations:
  hook: {{type: webhook, url_file: url, secret_file: [sign, sign2], headers: {{authorization_file: auth}}}}
""",
        folder=tmp_path,
    )
    config = loaded.config
    assert [account.api_key.reveal() for account in config.accounts.values()] == ["abc", "def"]
    assert config.http.bearer.reveal() == "ghi"
    hook = config.destinations["hook"]
    assert hook.url.reveal() == "https://example.com/jkl"
    assert texts(hook.secrets) == [SECRET, OTHER_SECRET]
    assert {name: value.reveal() for name, value in hook.headers.items()} == {"authorization": "Bearer mno"}
    assert loaded.warnings == ()
    assert {"abc", "def", "ghi", hook.url.reveal(), SECRET, OTHER_SECRET, "Bearer mno"} <= set(texts(loaded.secrets))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("camb: {api_key: a, api_key_file: key}", "1:34: camb.api_key_file: give api_key or api_key_file, not both"),
        ("camb: {api_key_file: none}", "1:22: camb.api_key_file: the file cannot be read: No such file or directory"),
        ("camb: {api_key_file: .}", "1:22: camb.api_key_file: the file cannot be read: Is a directory"),
        ("camb: {api_key_file: empty}", "1:22: camb.api_key_file: the file is empty"),
        ("camb: {api_key_file: binary}", "1:22: camb.api_key_file: the file is not a text in UTF-8"),
        (
            "camb: {api_key_file: wide}",
            "1:22: camb.api_key_file: the file is in UTF-16: save it as UTF-8",
        ),
        ("camb: {api_key_file: large}", "1:22: camb.api_key_file: the file is larger than 64 KiB: it holds no secret"),
        (
            "camb: {api_key_file: lines}",
            "1:22: camb.api_key_file: in the file: must be visible ASCII characters without spaces or line breaks",
        ),
        (
            KEY + "destinations: {a: {type: slack, url_file: lines}}",
            (
                "2:43: destinations.a.url_file: in the file: "
                "a URL must not hold spaces or control characters: write %20 for a space"
            ),
        ),
        (
            KEY + "destinations: {a: {type: slack, url_file: local}}",
            (
                "2:43: destinations.a.url_file: an address of this machine or of a private network: "
                "needs allow_private: true"
            ),
        ),
        (
            KEY + f"destinations: {{a: {{type: webhook, url: https://a.b, secret: {SECRET}, secret_file: sign}}}}",
            "2:101: destinations.a.secret_file: give secret or secret_file, not both",
        ),
        (
            KEY + "egress_proxy_file: proxy",
            (
                "2:20: egress_proxy_file: in the file: "
                "has no port: write http://host:port, many proxies listen at 3128 or 8080"
            ),
        ),
        (
            KEY + "egress_proxy: http://a.b:1\negress_proxy_file: proxy",
            "3:20: egress_proxy_file: give egress_proxy or egress_proxy_file, not both",
        ),
        (
            KEY + "destinations: {a: {type: webhook, url: https://a.b, headers: {x: a, X_file: key}}}",
            "2:53: destinations.a.headers: x is given twice",
        ),
    ],
)
def test_a_file_that_holds_no_secret_is_a_mistake(tmp_path, text, line):
    """The place is that of the file's name, and what is in the file stays out of the message."""
    secret_file(tmp_path, "key", b"abc")
    secret_file(tmp_path, "empty", b"\n")
    secret_file(tmp_path, "binary", b"\xff\xff")
    secret_file(tmp_path, "wide", "abc".encode("utf-16"))
    secret_file(tmp_path, "large", b"x" * 70_000)
    secret_file(tmp_path, "lines", b"https://a\nb\n")
    secret_file(tmp_path, "proxy", b"http://u:p@a.b\n")
    secret_file(tmp_path, "local", b"https://127.0.0.1/\n")
    secret_file(tmp_path, "sign", SECRET.encode())
    assert mistakes(text, folder=tmp_path) == [line]


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o622, False)]
)
def test_a_secret_that_others_may_read_is_a_warning(tmp_path, mode, warned):
    """It works, and the log says what to do."""
    path = secret_file(tmp_path, "key", b"abc", mode=mode)
    loaded = read("camb: {api_key_file: key}", folder=tmp_path)
    warning = f"{path}: others than its owner may read this secret (mode {mode:04o}): chmod 600 it"
    assert loaded.warnings == ((warning,) if warned else ())


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("camb: {api_key: abcdef}", True),
        ("camb: {accounts: {b: {api_key: abcdef}}}", True),
        (KEY_BY_VARIABLE + "http: {token: ghijkl}", True),
        (KEY_BY_VARIABLE + "egress_proxy: http://bob:secret@a.b:1", True),
        (KEY_BY_VARIABLE + f"destinations: {{a: {{type: webhook, url: https://a.b, secret: {SECRET}}}}}", True),
        (KEY_BY_VARIABLE + "destinations: {a: {type: slack, url: https://hooks.slack.com/services/T1/B1/c1}}", True),
        (
            KEY_BY_VARIABLE + "destinations: {a: {type: webhook, url: https://a, headers: {authorization: Basic b}}}",
            True,
        ),
        (KEY_BY_VARIABLE + "destinations: {a: {type: webhook, url: https://a.b, headers: {x-show: pilot}}}", False),
        (KEY_BY_VARIABLE + "egress_proxy: http://a.b:1", False),
        ("camb: {api_key_file: key}", False),
    ],
)
def test_a_configuration_that_others_may_read_and_that_holds_a_secret_is_a_warning(tmp_path, text, held):
    """Not one that names a variable or a file instead."""
    secret_file(tmp_path, "key", b"abcdef")
    path = secret_file(tmp_path, "config.yaml", text.encode(), mode=0o644)
    warning = f"{path}: others than its owner may read the secrets in this file (mode 0644): chmod 600 it, "
    found = [one for one in load(path, {"KEY": "from-the-environment"}).warnings if one.startswith(warning)]
    assert len(found) == held
    path.chmod(0o600)
    assert load(path, {"KEY": "from-the-environment"}).warnings == ()


def test_systemd_credentials_serve_where_nothing_is_written(tmp_path):
    """A key that is written wins, one that is null does not; their mode is systemd's business."""
    secret_file(tmp_path, "camb_api_key", b"from systemd".replace(b" ", b"-"), mode=0o440)
    secret_file(tmp_path, "http_token", b"ghi789\n", mode=0o444)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    for text in ("log: {}", "camb:\nhttp:\n", "camb: {timeout: 5s}\nhttp: {token: null}"):
        loaded = read(text, environ)
        assert loaded.config.accounts["default"].api_key.reveal() == "from-systemd"
        assert loaded.config.http.bearer.reveal() == "ghi789"
        assert loaded.warnings == ()
        assert set(texts(loaded.secrets)) == {"from-systemd", "ghi789"}
    loaded = read("camb: {api_key: mine}\nhttp: {token: own}", environ)
    assert texts(loaded.secrets) == ["mine", "own"]


def test_a_credential_that_is_no_secret_is_a_mistake(tmp_path):
    """It is called what systemd calls it."""
    secret_file(tmp_path, "camb_api_key", b"")
    found = mistakes("log: {}", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found == ["1:1: camb.api_key_file: the systemd credential camb_api_key is empty"]


def test_of_a_slack_url_its_path_is_a_secret_too():
    """Whoever logs only a part of the URL shows nothing either."""
    url = "https://hooks.slack.com/services/T000/B000/XXXX"
    loaded = read(
        KEY + f"destinations: {{a: {{type: slack, url: {url}}}, b: {{type: webhook, url: https://a.b/c?sig=d}}}}"
    )
    assert texts(loaded.secrets) == ["abcdef", url, "services/T000/B000/XXXX", "https://a.b/c?sig=d", "sig=d"]


@pytest.mark.parametrize(
    ("header", "forms"),
    [
        ("Bearer t0ken.abc", ["t0ken.abc"]),
        ("token  t0ken", ["t0ken"]),
        ("Basic Ym9iOnA6c3M=", ["Ym9iOnA6c3M=", "bob:p:ss", "p:ss"]),
        ("Basic not-base64", ["not-base64"]),
        ("basic /////w==", ["/////w=="]),
        ("t0ken", []),
    ],
)
def test_of_an_authorization_the_credential_is_a_secret_too(header, forms):
    """A receiver that refuses a token may name it without its scheme."""
    loaded = read(
        KEY + f"destinations: {{a: {{type: webhook, url: https://a.b/c, headers: {{authorization: '{header}'}}}}}}"
    )
    assert texts(loaded.secrets) == ["abcdef", "https://a.b/c", header, *forms]


def test_the_egress_proxy_is_a_secret_with_all_its_forms(tmp_path):
    """In place or in a file: its URL, its password in a URL and as it is, and what a header has of both."""
    url = "http://bob:p%40ss%2Fword@[2001:db8::1]:3128"
    forms = [url, "p%40ss%2Fword", "p@ss/word", "Ym9iOnBAc3Mvd29yZA=="]
    secret_file(tmp_path, "proxy", url.encode() + b"\n")
    for text in (f"egress_proxy: '{url}'\n", "egress_proxy: null\negress_proxy_file: proxy\n"):
        loaded = read(KEY + text, folder=tmp_path)
        assert loaded.config.proxy.reveal() == url
        assert texts(loaded.secrets) == ["abcdef", *forms]
        assert "p%40ss" not in f"{loaded} {loaded.config!r} {loaded.config.model_dump()}"


@pytest.mark.parametrize(
    "url", ["http://proxy.example:3128", "http://127.0.0.1:8080/", "http://[::1]:1", "HTTP://bob@a:1"]
)
def test_a_proxy_without_a_password(url):
    """May be on a private address; a slash at the end does no harm."""
    loaded = read(KEY + f"egress_proxy: {url}")
    assert loaded.config.proxy.reveal() == url
    assert texts(loaded.secrets) == ["abcdef", url]


def test_without_an_egress_proxy_there_is_none():
    """Left out or null."""
    for text in ("", "egress_proxy:\n", "egress_proxy: null\negress_proxy_file:\n"):
        assert read(KEY + text).config.proxy is None


LEAKS = [
    "camb: {api_key: 'CANARY CANARY'}",
    "camb: {api_key:CANARY}",
    "camb:\n  api_key:CANARY",
    "camb: {api_key: *CANARY}",
    "camb: {api_key: !CANARY x}",
    "camb: {api_key: @CANARY}",
    "camb: {api_key: {CANARY: x}}",
    "camb: {api_key: [CANARY]}",
    "camb: {api_key: a, api_key: CANARY}",
    "camb: {api_key_file: CANARY}",
    "camb: {api_key: a: CANARY}",
    'camb: {api_key: "CANARY\\q"}',
    "camb: {base_url: 'https://u:CANARY@a.b'}",
    "camb: {api_kye: CANARY, apikey: CANARY}",
    "http: {token: 'CANARY x'}",
    "store: {url: postgresql://u:CANARY@host/db}",
    "store: {url: mysql://u:CANARY@host/db}",
    "egress_proxy: CANARY",
    "egress_proxy: http://u:CANARY@host",
    "egress_proxy: socks5://u:CANARY@host:1",
    "egress_proxy: http://u:CANARY@host:port",
    "egress_proxy: http://u:CAN/CANARY@host:1",
    "egress_proxy: 'http://u:CANARY@host:1/CANARY?CANARY'",
    "egress_proxy: 'http://u:1#CANARY@host:1'",
    "egress_proxy: http://CANARY%3Au:CANARY@host:1",
    "egress_proxy_file: http://u:CANARY@host:1",
    "{egress_proxy: 'http://u:CANARY@a:1', egress_proxy_file: CANARY}",
    "destinations: {a: {type: slack, url: CANARY}}",
    "destinations: {a: {type: slack, url: 'http://a.b/CANARY'}}",
    "destinations: {a: {type: slack, url: 'https://127.0.0.1/CANARY'}}",
    "destinations: {a: {type: slack, url: 'https://CANARY:CANARY@a.b/'}}",
    "destinations: {a: {type: slack, url: 'https://a.b:CANARY/'}}",
    "destinations: {a: {type: 'https://a.b/CANARY', url: x}}",
    "destinations: {'https://a.b/CANARY': {type: slack}}",
    "destinations: {a: {type: webhook, url: https://a.b, secret: CANARY}}",
    "destinations: {a: {type: webhook, url: https://a.b, secret: whsec_CANARY}}",
    "destinations: {a: {type: webhook, url: https://a.b, secret: [{CANARY: a}]}}",
    'destinations: {a: {type: webhook, url: https://a.b, headers: {x: "CANARY\\n"}}}',
    "destinations: {a: {type: webhook, url: https://a.b, headers: {'x: CANARY': y}}}",
    "destinations: {a: {type: webhook, url: https://a.b, headers: [CANARY]}}",
    "routes: [{notify: ['https://a.b/CANARY']}]",
    "routes: ['https://a.b/CANARY']",
]
SPOTS = [
    "polling: {interval: X}",
    "polling: {strategy: X}",
    "polling: {kinds: {dub: {deadline: X}}}",
    "camb: {timeout: X, concurrency: X, requests_per_second: X}",
    "results: {fetch: X}",
    "log: {level: X, format: X}",
    "http: {listen: X, allowed_hosts: [X/]}",
    "destinations: {a: {type: X, url: https://a.b, rate: X, timeout: X, retry: {factor: X}, allow_private: X}}",
    HOOK + "routes: [{notify: X, when: {status: X, kind: X, event: X}}, {notify: X, when: {account: X}}]",
    HOOK + "tasks: [{kind: X, task_id: a, deadline: X}, {kind: dub, task_id: b, account: X, notify: [X]}]",
    "tasks: [{kind: dub, task_id: X, group: a}, {kind: dub, task_id: X}]",
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_message_shows_a_secret(text):
    """However a secret got into the wrong place or form, the error does not hold it."""
    lines = mistakes(text.replace("CANARY", CANARY))
    assert lines
    assert CANARY not in "\n".join(lines)


@pytest.mark.parametrize("text", SPOTS)
def test_no_message_shows_what_a_variable_holds(text):
    """A variable in the wrong place is shown as it is written; what it holds may be a key."""
    lines = mistakes(text.replace("X", '"${KEY}"'), {"KEY": CANARY})
    assert lines
    assert CANARY not in "\n".join(lines)


def test_a_loaded_configuration_does_not_print_its_secrets():
    """Neither as a whole nor in what is made of it."""
    text = f"""
camb: {{api_key: {CANARY}, accounts: {{b: {{api_key: {CANARY}}}}}}}
http: {{token: {CANARY}}}
destinations: {{a: {{type: webhook, url: 'https://a.b/{CANARY}', secret: {SECRET}, headers: {{x: {CANARY}}}}}}}
"""
    loaded = read(text)
    config = loaded.config
    as_yaml = yaml.safe_dump(config.model_dump(mode="json", warnings=False))
    as_json = config.model_dump_json(warnings=False)
    for form in (as_json, as_yaml):
        assert form.count("<secret>") == 6
    printed = f"{loaded} {config!r} {config} {config.accounts} {config.destinations} {config.model_dump()}"
    printed += as_json + as_yaml
    assert CANARY not in printed
    assert SECRET not in printed
