"""`store` where it names a PostgreSQL server: what is wrong is said, and the password is not."""

import json
from pathlib import Path

import pytest

from cambwatch.config import ConfigError, loads

URL = "postgresql://ada:hunter2@db.example.com/cambwatch?sslmode=require"


def load(store: str, folder: Path = Path("/nowhere")):
    """The configuration with this section."""
    return loads(f"camb: {{api_key: abcdef}}\nstore: {store}\n".encode(), file="f", folder=folder, environ={}).config


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("{url: 'postgresql://u:hunter2@/d'}", "2:14: store.url: has no host"),
        ("{url: 'postgresql://u:hunter2@h'}", "2:14: store.url: has no database"),
        (
            "{url: 'postgres://u:hunter2@h/d?sslmod=require'}",
            "2:14: store.url: sslmod is not a known parameter (did you mean sslmode?)",
        ),
        ("{url: 'postgresql://u:hunter2@h/d#x'}", "must not hold #"),
        ("{url: 'postgresql://u:hunter2@h:port/d'}", "the port must be a number from 1 to 65535"),
        ("{url: 'mysql://u:hunter2@h/d'}", "or postgresql://user:password@host/database"),
        ("{lease: 1s}", "store.lease: must be from 2s to 10m"),
        ("{lease: 11m}", "store.lease: must be from 2s to 10m"),
        ("{url_file: nowhere}", "store.url_file: the file cannot be read"),
    ],
)
def test_a_mistake_is_told_without_the_password(store: str, said: str) -> None:
    """With its place and what to write instead."""
    with pytest.raises(ConfigError) as caught:
        load(store)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_password_is_a_secret() -> None:
    """Of the configuration, in whatever form it is shown."""
    found = load(f"{{url: '{URL}'}}")
    assert (found.store.where, found.store.path) == (URL, None)
    assert "hunter2" not in repr(found)
    assert "hunter2" not in json.dumps(found.store.model_dump(mode="json", include={"url", "url_file"}))
    assert {"ada:hunter2", "hunter2"} <= {secret.reveal() for secret in found.secrets()}


def test_a_file_can_hold_the_url(tmp_path: Path) -> None:
    """One of the two, and a file holds nothing but a server's."""
    (tmp_path / "store.url").write_text(URL + "\n")
    (tmp_path / "store.url").chmod(0o600)
    (tmp_path / "sqlite.url").write_text("sqlite:///x.db")
    assert load("{url_file: store.url}", tmp_path).store.where == URL
    with pytest.raises(ConfigError, match="not both"):
        load(f"{{url: '{URL}', url_file: store.url}}", tmp_path)
    with pytest.raises(ConfigError, match="must hold postgresql://"):
        load("{url_file: sqlite.url}", tmp_path)


def test_a_file_of_sqlite_is_no_secret() -> None:
    """And is where it says."""
    found = load("{url: 'sqlite:////var/lib/x.db'}")
    assert found.store.path == Path("/var/lib/x.db")
