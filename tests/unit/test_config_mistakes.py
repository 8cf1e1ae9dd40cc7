"""Each kind of mistake in the configuration, with its place and its words."""

import pytest
from config_samples import HOOK, KEY, SECRET, mistakes

WHEN = KEY + HOOK + "routes:\n  - notify: hook\n    when: "
TASK = KEY + HOOK + "tasks:\n  - "
POLLING = KEY + "polling: "
HTTP = KEY + "http: "
ASCII = "must be ASCII after the host: percent-encode the rest, such as %C3%A9 for é"
PRIVATE = "an address of this machine or of a private network: needs allow_private: true"
MAKE_ONE = "make one with: echo whsec_$(openssl rand -base64 32)"
HEADERS = "3:53: destinations.hook.headers"
PLAIN = "must be http://host:port: the proxy itself is spoken to in plain HTTP, receivers are not"
ESCAPES = " (in a password write %2F for /, %3F for ?, %23 for #, %25 for %)"
BEHIND_DESTINATION = KEY + "destinations:\n  hook: "

CASES = [
    # keys
    (KEY + "stroe: {}", "2:1: stroe: unknown key (did you mean store?)"),
    (POLLING + "{intervall: 5s}", "2:11: polling.intervall: unknown key (did you mean interval?)"),
    (KEY + "deadline: 5s", "2:1: deadline: unknown key (did you mean polling.deadline?)"),
    (KEY + "results: {colour: 1}", "2:11: results.colour: unknown key (known: fetch, repeat_alt_format)"),
    (KEY + "log: {level:info}", "2:7: log: unknown key: a colon that ends a key has a space behind it"),
    (
        KEY + "log:\n  level:info",
        "3:3: log: must be a mapping, not a text: a colon that ends a key has a space behind it",
    ),
    (KEY + "log: {level: info, level: debug}", "2:20: log.level: the key level is given twice (first in line 2)"),
    (KEY + "? [log]\n: 1", "2:3: a key must be a text"),
    (KEY + "log: {<<: 5}", "2:11: log: << takes the alias of a mapping, or a list of them"),
    (KEY + "log: {'${A}': 5}", "2:7: log: variables are not replaced in keys"),
    # the egress proxy
    (KEY + "egress_proxi: http://a.b:1", "2:1: egress_proxi: unknown key (did you mean egress_proxy?)"),
    (KEY + "egress_proxy: {url: a}", "2:15: egress_proxy: must be a text, not a mapping"),
    (KEY + "egress_proxy: ''", "2:15: egress_proxy: is empty"),
    *(
        (KEY + f"egress_proxy: '{url}'", "2:15: egress_proxy: " + words)
        for url, words in {
            "https://a.b:1": PLAIN,
            "socks5://a.b:1": PLAIN,
            "a.b:3128": PLAIN,
            "a.b": PLAIN,
            "http://a.b": "has no port: write http://host:port, many proxies listen at 3128 or 8080",
            "http://a.b:1/x": "must end with the port, as in http://host:port" + ESCAPES,
            "http://a.b:1?x=y": "must end with the port, as in http://host:port" + ESCAPES,
            "http://a.b:1?": "must end with the port, as in http://host:port" + ESCAPES,
            "http://a.b:1#x": "must end with the port, as in http://host:port" + ESCAPES,
            "http://u:1/2@a.b:1": "must end with the port, as in http://host:port" + ESCAPES,
            "http://u:p/w@a.b:1": "this is not a URL: check the port and the brackets" + ESCAPES,
            "http://a.b:99999": "this is not a URL: check the port and the brackets" + ESCAPES,
            "http://a.b:0": "this URL has no proper host",
            "http://:1": "this URL has no proper host",
            "http://127.1:1": "this URL has no proper host",
            "http://u:p w@a.b:1": "a URL must not hold spaces or control characters: write %20 for a space",
            "http://u%3Av:p@a.b:1": (
                "the user of a proxy must not hold a colon (%3A): nothing could tell it from the password"
            ),
        }.items()
    ),
    # what comes later is refused, not ignored
    (KEY + "proxy: {enabled: true}", "2:1: proxy: not supported yet: it comes with a later version, leave it out"),
    (
        POLLING + "{strategy: learnt}",
        "2:21: polling.strategy: 'learnt' is not known here (did you mean learned?)",
    ),
    # shapes
    (KEY + "log: [1]", "2:6: log: must be a mapping, not a list"),
    (KEY + "log: info", "2:6: log: must be a mapping, not a text"),
    (KEY + "routes: {notify: a}", "2:9: routes: must be a list: every entry begins with a dash"),
    (KEY + "destinations: [a]", "2:15: destinations: must be a mapping, not a list"),
    (KEY + "destinations: {a: }", "2:16: destinations.a: has no value"),
    (KEY + "log: {level: [a]}", "2:14: log.level: must be a text, not a list"),
    (KEY + "log: {level: {a: b}}", "2:14: log.level: must be a text, not a mapping"),
    (KEY + "log: {level: }", "2:7: log.level: has no value (the word null needs quotes)"),
    (
        KEY + "http: {allowed_hosts: {a: b}}",
        "2:23: http.allowed_hosts: must be a text or a list of texts, not a mapping",
    ),
    # words
    (KEY + "log: {level: inof}", "2:14: log.level: 'inof' is not known here (did you mean info?)"),
    (KEY + "log: {format: xml}", "2:15: log.format: 'xml' is not known here (known: auto, console, json)"),
    (KEY + "results: {fetch: 1}", "2:18: results.fetch: must be true or false"),
    (POLLING + "{kinds: {dubb: {}}}", "2:19: polling.kinds.dubb: 'dubb' is no kind of task (did you mean dub?)"),
    # durations and numbers
    (POLLING + "{interval: 5}", "2:21: polling.interval: '5' has no unit: write ms, s, m, h or d behind the number"),
    (
        POLLING + "{deadline: 3w}",
        (
            "2:21: polling.deadline: '3w' is no duration of up to ten years: "
            "write a number and a unit, such as 500ms, 30s, 5m, 12h or 7d"
        ),
    ),
    (POLLING + "{deadline: 0s}", "2:21: polling.deadline: must be longer than nothing"),
    (KEY + "camb2: 1", "2:1: camb2: unknown key (did you mean camb?)"),
    (
        "camb: {api_key: a, concurrency: 0}",
        "1:33: camb.concurrency: '0' must be a whole number from 1 to 10000",
    ),
    (
        "camb: {api_key: a, requests_per_second: fast}",
        "1:41: camb.requests_per_second: 'fast' must be a number above 0 up to 10000",
    ),
    # camb
    (
        "log: {}",
        (
            "1:1: camb.api_key: is missing: write api_key: ${CAMB_API_KEY}, or api_key_file: FILE, "
            "or give the service the systemd credential camb_api_key"
        ),
    ),
    ("camb: {api_key: ''}", "1:17: camb.api_key: is empty"),
    ("camb: {api_key: a b}", "1:17: camb.api_key: must be visible ASCII characters without spaces or line breaks"),
    ("camb: {api_key: Bearer abc}", "1:17: camb.api_key: is a whole header: give the key or token alone"),
    ("camb: {api_key: yes}", "1:17: camb.api_key: reads as true or false, not as a text: put quotes around it"),
    ("camb: {accounts: {b: {timeout: 5s}}}", "1:19: camb.accounts.b.api_key: is missing (or api_key_file)"),
    (
        "camb: {api_key: a, accounts: {default: {api_key: b}}}",
        "1:31: camb.accounts.default: default is the account of camb.api_key: choose another name",
    ),
    ("camb: {api_key: a, base_url: ftp://x}", "1:30: camb.base_url: must be a URL that begins with https://"),
    (
        "camb: {api_key: a, base_url: 'https://x/?a=b'}",
        "1:30: camb.base_url: must not have a query (?...): Camb's paths are put behind it",
    ),
    # polling
    (
        POLLING + "{min_interval: 3m}",
        "2:25: polling.min_interval: min_interval (3m) is longer than max_interval (2m)",
    ),
    (
        POLLING + "{interval: 500ms}",
        "2:21: polling.interval: interval (500ms) is shorter than min_interval (1s): lower that as well",
    ),
    (
        POLLING + "{max_interval: 4s}",
        "2:25: polling.max_interval: interval (5s) is longer than max_interval (4s): raise that as well",
    ),
    (
        POLLING + "{kinds: {voice: {interval: 1h}}}",
        "2:37: polling.kinds.voice.interval: interval (1h) is longer than max_interval (2m): raise that as well",
    ),
    (
        POLLING + "{kinds: {tts: {}, text-to-speech: {}}}",
        "2:28: polling.kinds.text-to-speech: is the kind tts, which stands here already as tts",
    ),
    # store
    (
        KEY + "store: {url: mysql://x}",
        (
            "2:14: store.url: must be sqlite:///file, sqlite:////folder/file for an absolute path, "
            "or postgresql://user:password@host/database"
        ),
    ),
    (
        KEY + "store: {url: 'sqlite:///:memory:'}",
        "2:14: store.url: a database in memory loses every task when the process ends: name a file",
    ),
    (
        KEY + "store: {url: 'sqlite:///a?mode=ro'}",
        "2:14: store.url: takes no options: nothing of ?, # is allowed behind sqlite:///",
    ),
    # http
    (HTTP + "{listen: 8787}", "2:16: http.listen: '8787' must be host:port, such as 127.0.0.1:8787, or unix:/path"),
    (
        HTTP + "{listen: 'a:70000'}",
        "2:16: http.listen: 'a:70000' must be host:port, such as 127.0.0.1:8787, or unix:/path",
    ),
    (
        HTTP + "{listen: ':80'}",
        "2:16: http.listen: has no address before the port: write 127.0.0.1:80, or 0.0.0.0:80 for every interface",
    ),
    (HTTP + "{listen: '::1:80'}", '2:16: http.listen: an IPv6 address needs brackets: "[::1]:80"'),
    (
        HTTP + "{listen: unix:run/a}",
        "2:16: http.listen: must be unix: and the absolute path of a file, such as unix:/run/cambwatch/cambwatch.sock",
    ),
    (HTTP + f"{{listen: unix:/{'a' * 107}}}", "2:16: http.listen: the path of a Unix socket has at most 107 bytes"),
    (
        HTTP + "{listen: 0.0.0.0:80}",
        "2:1: http.token: is missing: whoever reaches 0.0.0.0:80 could use cambwatch (or token_file)",
    ),
    (
        HTTP + "{allowed_hosts: [http://a]}",
        "2:24: http.allowed_hosts[0]: this must be a host name or an address alone: no http://, no port, no pattern",
    ),
    # destinations
    (BEHIND_DESTINATION + "{type: slack}", "3:3: destinations.hook.url: is missing (or url_file)"),
    (BEHIND_DESTINATION + "{url: https://a.b}", "3:3: destinations.hook.type: is missing"),
    (
        KEY + "destinations: {a b: {type: slack, url: https://a.b}}",
        "2:16: destinations: is no name: 1 to 64 letters, digits, `_`, `.` or `-`",
    ),
    (
        BEHIND_DESTINATION + "{type: slack, url: http://a.b/c}",
        "3:28: destinations.hook.url: plain http: needs allow_private: true",
    ),
    *(
        (
            BEHIND_DESTINATION + f"{{type: slack, url: '{url}'}}",
            f"3:28: destinations.hook.url: {PRIVATE}",
        )
        for url in (
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://10.1.2.3",
            "https://localhost/a",
            "https://169.254.1.1/",
            "https://0x7f000001/",
        )
    ),
    (
        BEHIND_DESTINATION + "{type: slack, url: 'https://u:p@a.b'}",
        "3:28: destinations.hook.url: must not hold a user or password: put them into a header (authorization)",
    ),
    (
        BEHIND_DESTINATION + "{type: slack, url: 'https://a.b/#c'}",
        "3:28: destinations.hook.url: must not have a fragment (#...): remove it, or write %23 for a # in the path",
    ),
    (
        BEHIND_DESTINATION + "{type: slack, url: 'https://a.b/c#'}",
        "3:28: destinations.hook.url: must not have a fragment (#...): remove it, or write %23 for a # in the path",
    ),
    *(
        (
            BEHIND_DESTINATION + f"{{type: {kind}, url: 'https://a.b{rest}'}}",
            f"3:{column}: destinations.hook.url: {ASCII}",
        )
        for kind, column in (("slack", 28), ("webhook", 30))
        for rest in ("/caf\u00e9", "/c?d=\u00e9", "?\u00e9", "/\U0001f600")
    ),
    (
        BEHIND_DESTINATION + "{type: slack, url: 'https://a.b:x'}",
        "3:28: destinations.hook.url: this is not a URL: check the port and the brackets",
    ),
    (
        BEHIND_DESTINATION + "{type: slack, url: 'https://2130706433/'}",
        "3:28: destinations.hook.url: this URL has no proper host",
    ),
    (
        BEHIND_DESTINATION + "{type: slack, url: 'https://a.b/c d'}",
        "3:28: destinations.hook.url: a URL must not hold spaces or control characters: write %20 for a space",
    ),
    (
        BEHIND_DESTINATION + f"{{type: slack, url: https://a.b, secret: {SECRET}}}",
        "3:41: destinations.hook.secret: signs requests of type webhook only, this is slack",
    ),
    (
        BEHIND_DESTINATION + "{type: webhook, url: https://a.b, secret: abc}",
        f"3:51: destinations.hook.secret: a signing secret starts with whsec_; {MAKE_ONE}",
    ),
    (
        BEHIND_DESTINATION + f"{{type: webhook, url: https://a.b, secret: [{SECRET}, whsec_QUFB]}}",
        f"3:92: destinations.hook.secret[1]: a signing secret holds 24 to 64 bytes, this one holds 3; {MAKE_ONE}",
    ),
    (
        BEHIND_DESTINATION + "{type: webhook, url: https://a.b, headers: {Webhook-Id: a}}",
        "3:53: destinations.hook.headers.Webhook-Id: webhook-id is set by cambwatch itself",
    ),
    (
        BEHIND_DESTINATION + "{type: webhook, url: https://a.b, headers: {Transfer-Encoding: a}}",
        f"{HEADERS}.Transfer-Encoding: transfer-encoding belongs to the connection, not to the message",
    ),
    (
        BEHIND_DESTINATION + "{type: webhook, url: https://a.b, headers: {'x y': a}}",
        "3:53: destinations.hook.headers: a header's name has only letters, digits and !#$%&'*+.^_`|~-",
    ),
    (
        BEHIND_DESTINATION + '{type: webhook, url: https://a.b, headers: {x: "a\\nb"}}',
        "3:56: destinations.hook.headers.x: must be visible ASCII characters, with spaces only between them",
    ),
    (
        BEHIND_DESTINATION + "{type: webhook, url: https://a.b, rate: 10}",
        "3:49: destinations.hook.rate: '10' must be a rate such as 10/s or 30/m, up to 10000/s",
    ),
    (
        BEHIND_DESTINATION + "{type: webhook, url: https://a.b, retry: {first: 2h}}",
        "3:43: destinations.hook.retry: first (2h) is longer than max (1h)",
    ),
    (
        BEHIND_DESTINATION + "{type: webhook, url: https://a.b, retry: {give_up_after: 1s}}",
        "3:43: destinations.hook.retry: first (5s) is longer than give_up_after (1s): never tried again",
    ),
    (
        BEHIND_DESTINATION + "{type: webhook, url: https://a.b, retry: {factor: 0.5}}",
        "3:59: destinations.hook.retry.factor: '0.5' must be a number from 1 up to 100",
    ),
    # routes
    (KEY + HOOK + "routes: [{notify: hok}]", "3:19: routes[0].notify: unknown destination 'hok' (did you mean hook?)"),
    (KEY + "routes: [{notify: [hok]}]", "2:20: routes[0].notify[0]: unknown destination 'hok': there are none"),
    (KEY + HOOK + "routes: [{notify: []}]", "3:11: routes[0].notify: names nobody"),
    (KEY + HOOK + "routes: [{when: {}}]", "3:10: routes[0].notify: is missing"),
    (KEY + HOOK + "routes: [hook]", "3:10: routes[0]: must be a mapping, not a text"),
    (WHEN + "{status: eror}", "5:20: routes[0].when.status: 'eror' is no status (did you mean ERROR?)"),
    (
        WHEN + "{status: 'ERROR, TIMEOUT'}",
        "5:20: routes[0].when.status: 'ERROR, TIMEOUT' is no status (did you mean TIMEOUT?): a list is written [a, b]",
    ),
    *(
        (
            WHEN + f"{{status: [ERROR, {word}]}}",
            (
                f"5:28: routes[0].when.status[1]: nobody is told of {word}: "
                "a route hears of SUCCESS, ERROR, TIMEOUT, PAYMENT_REQUIRED, EXPIRED, NOT_FOUND"
            ),
        )
        for word in ("PENDING", "REMOVED")
    ),
    (WHEN + "{kind: dubbing}", "5:18: routes[0].when.kind: 'dubbing' is no kind of task (did you mean dub?)"),
    (WHEN + "{event: grup}", "5:19: routes[0].when.event: 'grup' is not known here (did you mean group?)"),
    (WHEN + "{account: defult}", "5:21: routes[0].when.account: unknown account 'defult' (did you mean default?)"),
    (WHEN + "{kind: []}", "5:12: routes[0].when.kind: is empty: leave it out where all are meant"),
    (
        WHEN + "{event: group, status: ERROR}",
        "5:26: routes[0].when.status: a group has none: leave it out, or leave out event: group",
    ),
    # tasks
    (TASK + "{kind: dub}", "4:5: tasks[0].task_id: is missing"),
    (TASK + "{kind: dub, task_id: ''}", "4:26: tasks[0].task_id: is empty: give the task_id that Camb returned"),
    (TASK + f"{{kind: dub, task_id: {'a' * 201}}}", "4:26: tasks[0].task_id: is 201 characters long, 200 are allowed"),
    (TASK + '{kind: dub, task_id: "a\\nb"}', "4:26: tasks[0].task_id: holds control characters"),
    *(
        (
            TASK + f"{{kind: dub, task_id: {word}}}",
            "4:26: tasks[0].task_id: reads as true or false, not as a text: put quotes around it",
        )
        for word in ("yes", "No", "TRUE", "off")
    ),
    (
        TASK + "{kind: dub, task_id: 'null'}",
        (
            "4:26: tasks[0].task_id: is what a program prints for a missing value: give the task_id that Camb "
            "returned, such as c8b8e3cd-ad17-4458-83ad-349432da117b"
        ),
    ),
    (TASK + "{kind: dub, task_id: '\"a1\"'}", "4:26: tasks[0].task_id: starts or ends with a quote: remove it"),
    (
        TASK + "{kind: dub, task_id: null}",
        "4:26: tasks[0].task_id: has no value: give the task_id that Camb returned",
    ),
    (
        TASK + "{kind: dub, task_id: a, notify: hok}",
        "4:37: tasks[0].notify: unknown destination 'hok' (did you mean hook?)",
    ),
    (TASK + "{kind: dub, task_id: a, account: b}", "4:38: tasks[0].account: unknown account 'b' (known: default)"),
    (TASK + "{kind: dub, task_id: a, group_size: 3}", "4:29: tasks[0].group_size: needs a group"),
    (
        TASK + "{kind: dub, task_id: a, extra: 3}",
        "4:36: tasks[0].extra: must be a mapping, such as {target_language: 54}",
    ),
    (
        TASK + "{kind: dub, task_id: a}\n  - {kind: end-to-end-dubbing, task_id: a}",
        "5:41: tasks[1].task_id: is watched already by tasks[0] (line 4)",
    ),
    (
        "camb: {accounts: {b: {api_key: c}}}\ntasks: [{kind: dub, task_id: a}]",
        "2:9: tasks[0].account: is missing, camb has no api_key of its own (known: b)",
    ),
    # variables
    (
        KEY + "log: {level: '${LEVEL}'}",
        "2:14: log.level: the environment variable LEVEL is not set (${LEVEL:-default} gives a default)",
    ),
    (
        KEY + "log: {level: '${LEVEL'}",
        "2:14: log.level: ${ begins a variable, ${NAME} or ${NAME:-default}; write $${ for these two characters",
    ),
]


@pytest.mark.parametrize(("text", "line"), CASES)
def test_a_mistake_is_told_by_place_path_and_words(text, line):
    """One mistake makes one line, and it is this one."""
    assert mistakes(text) == [line]


def test_all_mistakes_come_together_in_the_order_of_the_file():
    """One run is enough to see everything, whatever kind of mistake it is and whichever layer finds it."""
    text = """\
routes:
  - {notify: team-slak}
camb:
  api_key: ${CAMB_API_KEY}
  timeout: 30
camb: {}
polling: {interval: 1h, nonsense: 1}
destinations:
  team-slack: {type: slack, url: http://example.com}
  broken: {type: webhok}
tasks:
  - {kind: dub, task_id: a, notify: [broken, team-slack]}
  - {kind: dub, task_id: a, account: default}
"""
    assert mistakes(text, {"CAMB_APIKEY": "x"}) == [
        "2:14: routes[0].notify: unknown destination 'team-slak' (did you mean team-slack?)",
        "4:12: camb.api_key: the environment variable CAMB_API_KEY is not set (did you mean CAMB_APIKEY?)",
        "5:12: camb.timeout: '30' has no unit: write ms, s, m, h or d behind the number",
        "6:1: camb: the key camb is given twice (first in line 3)",
        (
            "7:25: polling.nonsense: unknown key "
            "(known: strategy, interval, min_interval, max_interval, deadline, not_found_grace, kinds)"
        ),
        "9:34: destinations.team-slack.url: plain http: needs allow_private: true",
        "10:18: destinations.broken.type: 'webhok' is not known here (did you mean webhook?)",
        "13:26: tasks[1].task_id: is watched already by tasks[0] (line 12)",
    ]


def test_the_text_of_an_error_stays_readable():
    """Of more than a hundred mistakes the first hundred are shown, and how many there are."""
    lines = mistakes(KEY + "routes:\n" + "  - {notify: nobody}\n" * 150)
    assert len(lines) == 101
    assert lines[-1] == "... and 50 more"
