"""The configuration: one YAML file, every mistake in it at once."""

from cambwatch.config.addresses import Listen, TcpListen, UnixListen
from cambwatch.config.errors import ConfigError, ConfigMistake, Place
from cambwatch.config.load import DaemonAddress, LoadedConfig, daemon_api, database, find, load, loads
from cambwatch.config.model import Config
from cambwatch.config.schema import schema

__all__ = [
    "Config",
    "ConfigError",
    "ConfigMistake",
    "DaemonAddress",
    "Listen",
    "LoadedConfig",
    "Place",
    "TcpListen",
    "UnixListen",
    "daemon_api",
    "database",
    "find",
    "load",
    "loads",
    "schema",
]
