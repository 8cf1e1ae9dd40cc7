"""What may change while the daemon runs."""

import pytest
from config_samples import config

from cambwatch.config.load import apply_to_running

HOOK = "destinations: {hook: {type: webhook, url: https://example.com/a}}\n"
CHAT = "destinations: {chat: {type: slack, url: https://example.com/a}}\n"


def test_what_has_not_changed_stays() -> None:
    """And nothing is kept back."""
    assert apply_to_running(config(HOOK), config(HOOK)) == (config(HOOK), [])


def test_destinations_routes_accounts_and_tasks_change() -> None:
    """All of the file but two keys."""
    changed = config(
        CHAT + "routes: [{notify: chat}]\ntasks: [{kind: dub, task_id: t}]\nhttp: {token: abcdefgh}\n"
        "store: {url: 'sqlite:///cambwatch.db'}\n"
    )
    new, kept = apply_to_running(config(HOOK), changed)
    assert (new, kept) == (changed, [])
    assert list(new.destinations) == ["chat"]


def test_where_it_listens_and_its_database_stay_and_are_named() -> None:
    """All else of the file holds."""
    changed = config(CHAT + "http: {listen: '127.0.0.1:1'}\nstore: {url: 'sqlite:////elsewhere/a.db'}\n")
    running = config(HOOK)
    new, kept = apply_to_running(running, changed)
    assert kept == ["http.listen", "store.url"]
    assert (new.http.listen, new.store.url) == (running.http.listen, running.store.url)
    assert list(new.destinations) == ["chat"]


def test_a_token_is_not_lost_while_others_can_reach_the_intake() -> None:
    """The file is right with its own http.listen, and wrong with the one that holds."""
    running = config(HOOK + "http: {listen: '0.0.0.0:8787', token: abcdefgh}\n")
    with pytest.raises(ValueError, match=r"http\.token: is needed as long as the daemon listens at 0\.0\.0\.0:8787"):
        apply_to_running(running, config(HOOK))
    kept_token, kept = apply_to_running(running, config(HOOK + "http: {token: abcdefgi}\n"))
    assert kept == ["http.listen"]
    assert kept_token.http.bearer.reveal() == "abcdefgi"
