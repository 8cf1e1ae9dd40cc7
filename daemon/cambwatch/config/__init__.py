"""The configuration: one YAML file, every mistake in it at once."""

from cambwatch.config.errors import ConfigError, ConfigMistake, Place
from cambwatch.config.json_schema import schema
from cambwatch.config.load import DaemonAddress, LoadedConfig, daemon_api, database, find, load, loads
from cambwatch.config.sections import Config
from cambwatch.config.urls import Listen, TcpListen, UnixListen

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
