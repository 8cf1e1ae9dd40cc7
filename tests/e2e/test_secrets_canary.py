"""Secrets with a mark on them, through the whole flow: where each of them is found afterwards, and where not."""

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from events import ended, hook, says, settings, watch
from receivers import Reply

SECRETS = {
    "API key": "CANARY-api-key",
    "other API key": "CANARY-second-api-key",
    "token": "CANARY-token-of-the-intake",
    "URL": "/hooks/CANARY-path/services?token=CANARY-query",
    "signing secret": "whsec_" + "CANARYsigning" * 3 + "A=",
    "header": 'Bearer CANARY header (value) "quoted"',
}
PRESIGNED = "https://cdn.example/file.flac?X-Signature=MARKED-signature"
PATH = SECRETS["URL"].partition("?")[0]
ECHO = "; ".join(SECRETS.values())
READ = (
    *("/v1/tasks", "/v1/groups/g", "/v1/deliveries", "/v1/destinations", "/v1/kinds", "/v1/durations"),
    *("/metrics", "/readyz", "/healthz", "/openapi.json", "/nowhere"),
)


def secret_file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return name


def shown_of(pid: int) -> dict[str, bytes]:
    """What every program on the machine that may look sees of the process."""
    return {name: Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ", "comm", "status", "maps")}


def dump(database: Path) -> dict[str, str]:
    """All that is in each table of the database."""
    with closing(sqlite3.connect(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: repr(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for name in names}  # noqa: S608


def files_of(database: Path) -> dict[str, Path]:
    return {path.name.removeprefix(database.name): path for path in database.parent.glob(database.name + "*")}


@pytest.fixture
async def flow(process, camb, receivers, tmp_path, until):
    """A daemon after a day's work: ends of all sorts, receivers and a Camb that repeat to us what they were sent."""
    page = f"{ECHO}; see {PRESIGNED}".encode()
    receivers.script(PATH, *(Reply(status, page) for status in (500, 429, 400)), Reply(body=page))
    receivers.script("/dead" + PATH, Reply(410, json.dumps({"you": "sent", "me": page.decode()}).encode()))
    receivers.script("/camb/dub/ok", says({"detail": ECHO}, status=500), ended("SUCCESS", 5))
    receivers.script("/camb/dub-result/5", says({"audio_url": PRESIGNED, "video_url": PRESIGNED + "2"}))
    receivers.script("/camb/dub/failed", says({"status": "ERROR", "message": "no", "exception_reason": "X"}))
    receivers.script("/camb/dub/refused", says({"detail": ECHO}, status=401))
    receivers.script("/camb/dub/gone", says({"detail": ECHO}, status=404))
    common = {
        "secret_file": secret_file(tmp_path, "signing", SECRETS["signing secret"]),
        "headers": {"authorization": SECRETS["header"]},
    }
    plain = hook(receivers, SECRETS["URL"], **common)
    url = plain.pop("url")
    made = await process(
        settings(
            camb={
                "base_url": receivers.url + "/camb",
                "api_key": None,
                "api_key_file": secret_file(tmp_path, "key", SECRETS["API key"]),
                "accounts": {"b": {"api_key": SECRETS["other API key"]}},
            },
            polling={"max_interval": "100ms"},
            http={"token_file": secret_file(tmp_path, "token", SECRETS["token"]), "token": None},
            destinations={
                "echoes": plain | {"url_file": secret_file(tmp_path, "url", url)},
                "dead": hook(receivers, "/dead" + SECRETS["URL"], **common),
            },
        ),
        ready=None,
    )
    made.api._headers["authorization"] = f"Bearer {SECRETS['token']}"
    made._token = SECRETS["token"]
    await made.start()
    await watch(made.api, "dub", "ok", "failed", "gone", group="g")
    await watch(made.api, "dub", "refused", account="b")

    async def settled() -> bool:
        owed = (await made.api.get("/v1/deliveries")).document["items"]  # of three tasks and their group
        done = len(owed) == 8 and {one["state"] for one in owed} == {"delivered", "dead"}
        return done and '"event": "account.paused"' in made.log.read_text()

    await until(settled, 20)
    return made


async def test_secrets_are_found_nowhere_and_results_only_where_they_are_kept(flow):
    """
    API keys, tokens, URLs of destinations, signing secrets and headers stay in the configuration.

    Presigned URLs of results are kept: in the database, and for who has the token.
    """
    api = flow.api
    answers = {path: (await api.get(path)).body.decode() for path in READ}
    tasks = json.loads(answers["/v1/tasks"])["items"]
    for task in tasks:
        path = f"/v1/tasks/dub/{task['task_id']}?account={task['account']}"
        answers[path] = (await api.get(path)).body.decode()
    for delivery in json.loads(answers["/v1/deliveries"])["items"]:
        path = f"/v1/deliveries/{delivery['id']}"
        answers[path] = (await api.get(path)).body.decode()
    for path in ("/v1/destinations/echoes/test", "/v1/destinations/dead/test", "/v1/tasks/dub/ok/poll"):
        answers[path] = (await api.ask("POST", path)).body.decode()
    wrong = {"kind": SECRETS["API key"], "task_id": "a", "notify": [SECRETS["token"]]}
    assert (await api.post(wrong)).status == 422  # the caller's own words come back to it alone

    database = flow.config.parent / "cambwatch.db"
    live = {f"database{suffix}": path.read_bytes().decode("latin-1") for suffix, path in files_of(database).items()}
    seen = {f"/proc {name}": raw.decode("latin-1") for name, raw in shown_of(flow.pid).items()}
    assert await flow.stop() == 0
    log = flow.log.read_text()
    stored = {f"table {name}": rows for name, rows in dump(database).items()}

    assert len(tasks) == 4
    assert sum(rows != "[]" for rows in stored.values()) >= 4
    everywhere = answers | live | seen | stored | {"log": log}
    assert [place for place, text in everywhere.items() if "CANARY" in text] == []

    marked = {place for place, text in everywhere.items() if "MARKED" in text}
    kept = {"table tasks", "table events"}
    shown = {"/v1/tasks", "/v1/tasks/dub/ok?account=default"}
    assert kept | shown <= marked <= kept | shown | live.keys() | {"/v1/tasks/dub/ok/poll"}
    assert "https://cdn.example/…" in log


async def test_the_files_of_the_state_are_the_owners_alone(flow):
    """The database, what SQLite puts beside it, and the lock; whatever the umask is."""
    found = files_of(flow.config.parent / "cambwatch.db")
    assert found.keys() >= {"", "-wal", "-shm", ".lock"}
    assert {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items()} == dict.fromkeys(found, 0o600)
