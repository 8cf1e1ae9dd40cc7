"""The configuration: one YAML file, every mistake in it at once."""

from cambwatch.config.addresses import Listen, TcpListen, UnixListen
from cambwatch.config.database import database
from cambwatch.config.errors import ConfigError, Place, Problem
from cambwatch.config.files import find
from cambwatch.config.listener import Address, intake
from cambwatch.config.load import Loaded, load, loads
from cambwatch.config.model import Config
from cambwatch.config.schema import schema

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "Listen",
    "Loaded",
    "Place",
    "Problem",
    "TcpListen",
    "UnixListen",
    "database",
    "find",
    "intake",
    "load",
    "loads",
    "schema",
]
