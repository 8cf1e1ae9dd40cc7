"""Configurations for the tests, and how they are read."""

from collections.abc import Mapping
from pathlib import Path

from cambwatch.config import Config, ConfigError, LoadedConfig, loads

NOWHERE = Path("/nonexistent")
SECRET = "whsec_" + "QUFB" * 8  # 24 bytes
KEY = "camb: {api_key: abcdef}\n"
HOOK = "destinations: {hook: {type: webhook, url: https://example.com/a}}\n"


def read(text: str | bytes, environ: Mapping[str, str] | None = None, *, folder: Path = NOWHERE) -> LoadedConfig:
    """What *text* loads to, under the name c.yaml."""
    raw = text if isinstance(text, bytes) else text.encode()
    return loads(raw, file="c.yaml", folder=folder, environ=environ or {})


def config(text: str, environ: Mapping[str, str] | None = None, *, folder: Path = NOWHERE) -> Config:
    """The configuration in *text*, to which an API key is added."""
    return read(text + KEY, environ, folder=folder).config


def mistakes(text: str | bytes, environ: Mapping[str, str] | None = None, *, folder: Path = NOWHERE) -> list[str]:
    """The lines of the error that *text* loads to, without the file's name; none where it loads."""
    try:
        read(text, environ, folder=folder)
    except ConfigError as error:
        return [line.removeprefix("c.yaml:") for line in str(error).splitlines()]
    return []
