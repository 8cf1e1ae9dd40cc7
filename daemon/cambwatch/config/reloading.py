"""What a changed file may change while the daemon runs, and what only a restart can."""

from typing import NamedTuple

from cambwatch.config.model import Config

_LISTEN, _STORE = "http.listen", "store.url"


class ConfigChange(NamedTuple):
    """A configuration that takes the place of another; with *tell* the other nodes are to read theirs again too."""

    config: Config
    reload_others: bool = False


def apply_to_running(running: Config, changed: Config) -> tuple[Config, list[str]]:
    """
    *changed*, but where to listen and the database, which stay as they are; and which of these it would have changed.

    Raises ValueError, with what to do, where *changed* is right only with its own http.listen.
    """
    kept = []
    if changed.http.listen != running.http.listen:
        kept.append(_LISTEN)
        if not running.http.listen.loopback and not changed.http.bearer:
            raise ValueError(
                f"http.token: is needed as long as the daemon listens at {running.http.listen}: "
                f"keep it, or restart for the new {_LISTEN}"
            )
    if changed.store.where != running.store.where:
        kept.append(_STORE)
    same = changed.model_copy(
        update={
            "http": changed.http.model_copy(update={"listen": running.http.listen}),
            "store": changed.store.model_copy(update={"url": running.store.url, "url_file": running.store.url_file}),
        }
    )
    return same, kept
