"""config.example.yaml and the JSON Schema: complete, and true to the model."""

import json
import re
from pathlib import Path

import pytest
import yaml
from config_samples import KEY, SECRET, mistakes
from jsonschema import Draft202012Validator

from cambwatch.config import Config, load, schema
from cambwatch.config.entries import DestinationEntry, RouteEntry, TaskEntry
from cambwatch.config.sections import (
    AccountEntry,
    CambSection,
    HttpSection,
    KindPollingSection,
    LogSection,
    PollingSection,
    ResultsSection,
    StoreSection,
)
from cambwatch.config.templates import render, samples
from cambwatch.config.wording import model_of
from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import Registration
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
ENVIRON = {
    "CAMB_API_KEY": "abc",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/a/b/c",
    "STUDIO_B_API_KEY": "def",
    "PIPELINE_SECRET": SECRET,
    "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/1/a",
    "TEAMS_WEBHOOK_URL": "https://a.b.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/a?sig=b",
    "GOOGLE_CHAT_WEBHOOK_URL": "https://chat.googleapis.com/v1/spaces/a/messages?key=b&token=c",
    "MATTERMOST_WEBHOOK_URL": "https://mattermost.example.com/hooks/a",
    "PAGER_URL": "tgram://123456789:abcdefghijklmnopqrstuvwxyz0123456789/12315",
}
BASIC = {name: ENVIRON[name] for name in ("CAMB_API_KEY", "SLACK_WEBHOOK_URL")}


def complete_text():
    """The example with every key in use: its words are comments with a space behind the #, its keys have none."""
    return re.sub(r"(?m)^( *)#(?=\S)", r"\1", EXAMPLE.read_text())


def without_files(text):
    """*text* without the keys that name a file of a secret, which the same secret beside them excludes."""
    return re.sub(r"(?m)^ *\w+_file:.*\n", "", text)


def keys_of(model, path=()):
    """Every key that the file can have, with * for names and indexes."""
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        yield here
        if inner := model_of(field.annotation):
            many = field.annotation is not inner
            yield from keys_of(inner, (*here, "*") if many else here)


def keys_in(value, path=()):
    """Every key of a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from keys_in(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from keys_in(inner, (*path, "*"))


def generic(path):
    """*path* with * for the names that people choose."""
    named = {("destinations",): 1, ("camb", "accounts"): 2, ("polling", "kinds"): 2}
    for prefix, index in named.items():
        if path[:index] == prefix and len(path) > index:
            path = (*path[:index], "*", *path[index + 1 :])
    return path


def test_the_example_loads_as_it_is(tmp_path):
    """With the two variables that its head names, and nothing to warn of."""
    loaded = load(EXAMPLE, BASIC)
    assert loaded.warnings == ()
    assert list(loaded.config.accounts) == ["default"]
    assert list(loaded.config.destinations) == ["team-slack"]
    assert (loaded.config.routes, loaded.config.registrations) == ((), ())
    assert loaded.config.proxy is None


def test_the_example_has_every_key():
    """A key that is new must be shown to people."""
    shown = {generic(path) for path in keys_in(yaml.safe_load(complete_text()))}
    assert set(keys_of(Config)) - shown == set()


def test_a_key_that_is_missing_from_the_example_is_noticed():
    """The test before this one can fail: without `not_found_grace` it would."""
    text = re.sub(r"(?m)^ *not_found_grace:.*\n", "", complete_text())
    shown = {generic(path) for path in keys_in(yaml.safe_load(text))}
    assert set(keys_of(Config)) - shown == {
        ("polling", "not_found_grace"),
        ("polling", "kinds", "*", "not_found_grace"),
    }


def test_the_example_shows_the_defaults():
    """What people read beside a key is what they get without it."""
    config = load(EXAMPLE, BASIC).config
    key = Secret(ENVIRON["CAMB_API_KEY"])
    assert config.camb == CambSection(api_key=key)
    assert config.polling == PollingSection()
    assert config.results == ResultsSection()
    assert config.store == StoreSection()
    assert config.http == HttpSection()
    assert config.log == LogSection()
    for section in (CambSection, PollingSection, ResultsSection, StoreSection, HttpSection, LogSection):
        written = set(getattr(config, section.__name__.removesuffix("Section").lower()).model_fields_set)
        assert {name for name in section.model_fields if not name.endswith("_file")} == written


@pytest.fixture
def complete(tmp_path):
    """The configuration with every example in use."""
    path = tmp_path / "config.yaml"
    path.write_text(without_files(complete_text()))
    return load(path, ENVIRON).config


def test_every_example_can_be_used(complete):
    """Delete the # and it works; the defaults among the examples are true as well."""
    assert list(complete.accounts) == ["default", "studio-b"]
    default, studio = complete.accounts.values()
    assert (studio.base_url, studio.requests_per_second) == (default.base_url, default.requests_per_second)
    assert (studio.concurrency, studio.timeout) == (default.concurrency, default.timeout)
    pipeline = complete.destinations["pipeline"]
    assert pipeline == Destination("pipeline", "webhook", pipeline.url, (Secret(SECRET),), fallback="team-slack")
    assert {destination.type for destination in complete.destinations.values()} == set(FORMATS)
    bodies = [json.loads(render(complete.destinations["on-call"].template, event)) for _, event in samples()]
    assert all(body.keys() == {"dedup_key", "severity", "text", "links"} for body in bodies)
    assert {body["severity"] for body in bodies} == {"info", "error"}
    assert [route.notify for route in complete.routes] == [("pipeline",), ("team-slack",)]
    [task] = complete.registrations
    assert task == Registration(
        task.key,
        task.name,
        task.labels,
        task.notify,
        task.group,
        group_size=1,
        deadline=Registration(task.key).deadline,
    )


SERVER = "postgresql://ada:hunter2@db.example.com/cambwatch"


def test_files_of_secrets_in_the_example_can_be_used(tmp_path):
    """Each `x_file` of the example in place of its `x`."""
    text = complete_text()
    for name in ("api_key", "token", "secret", "url", "egress_proxy"):
        text = re.sub(rf"(?m)^ *{name}:.*\n(?=(?: *# .*\n)* *{name}_file:)", "", text)
    text = re.sub(r"(?m)^  pager:\n(?: {4}.*\n)+", "", text)  # it does not go through a proxy
    path = tmp_path / "config.yaml"
    path.write_text(text)
    (tmp_path / "secrets").mkdir()
    for name, content in (
        ("camb.key", "abc"),
        ("studio-b.key", "def"),
        ("http.token", "ghi"),
        ("slack.url", BASIC["SLACK_WEBHOOK_URL"]),
        ("proxy.url", "http://bob:secret@127.0.0.1:3128"),
        ("pipeline.secret", SECRET),
        ("store.url", SERVER),
    ):
        file = tmp_path / "secrets" / name
        file.write_text(content)
        file.chmod(0o600)
    loaded = load(path, {name: url for name, url in ENVIRON.items() if name.endswith("_URL") and name not in BASIC})
    assert loaded.warnings == ()
    assert loaded.config.store.where == SERVER
    assert loaded.config.http.bearer == Secret("ghi")
    assert loaded.config.proxy == Secret("http://bob:secret@127.0.0.1:3128")
    assert [account.api_key.reveal() for account in loaded.config.accounts.values()] == ["abc", "def"]
    assert loaded.config.destinations["pipeline"].secrets == (Secret(SECRET),)


def test_the_schema_is_one():
    """A valid JSON Schema of 2020-12, and JSON."""
    document = json.loads(json.dumps(schema()))
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_describes_every_key_and_shows_its_default():
    """Editors show a sentence for each, and durations as the file writes them."""
    definitions = schema()["$defs"]
    sections = (
        CambSection,
        AccountEntry,
        PollingSection,
        KindPollingSection,
        ResultsSection,
        StoreSection,
        HttpSection,
        LogSection,
        DestinationEntry,
        RouteEntry,
        TaskEntry,
    )
    for model in sections:
        properties = definitions[model.__name__]["properties"]
        assert set(properties) == set(model.model_fields)
        assert all(each.get("description") for each in properties.values()), model
        assert definitions[model.__name__]["additionalProperties"] is False
    assert definitions["PollingSection"]["properties"]["max_interval"]["default"] == "2m"
    assert definitions["HttpSection"]["properties"]["listen"]["default"] == "127.0.0.1:8787"
    assert definitions["DestinationEntry"]["required"] == ["type"]
    assert definitions["TaskEntry"]["required"] == ["kind", "task_id"]
    assert set(KINDS) <= set(definitions["TaskEntry"]["properties"]["kind"]["anyOf"][0]["enum"])


@pytest.mark.parametrize("text", [EXAMPLE.read_text(), complete_text()], ids=["as it is", "complete"])
def test_the_schema_accepts_the_example(text):
    """No red lines in the editor of whoever starts from it."""
    errors = [error.message for error in Draft202012Validator(schema()).iter_errors(yaml.safe_load(text))]
    assert errors == []


@pytest.mark.parametrize(
    "text",
    [
        "stroe: {}",
        "log: {level: inof}",
        "log: {levle: info}",
        "polling: {interval: 5}",
        "polling: {interval: 5 parsecs}",
        "camb: {concurrency: 0}",
        "camb: {accounts: {a b: {}}}",
        "destinations: {a: {url: https://a.b}}",
        "destinations: {a: {type: pigeon, url: https://a.b}}",
        "routes: [{}]",
        "routes: [{notify: a, when: {status: PENDING}}]",
        "tasks: [{kind: dubb, task_id: a}]",
        "tasks: [{kind: dub, task_id: ''}]",
        "results: {fetch: maybe}",
        "egress_proxy: [a]",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text):
    """As far as a schema can know."""
    assert mistakes(KEY + text if not text.startswith("camb") else text)
    assert list(Draft202012Validator(schema()).iter_errors(yaml.safe_load(text)))
