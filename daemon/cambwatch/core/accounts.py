"""Whose tasks we ask for: an API key, where it is good, and how much may be asked with it."""

from dataclasses import dataclass
from datetime import timedelta

from cambwatch.core.redaction import Secret

DEFAULT_ACCOUNT = "default"
"""The account of a task that names none."""


@dataclass(frozen=True, slots=True)
class Account:
    """
    A named API key.

    *base_url* has no slash at its end. *requests_per_second* (> 0) and *concurrency*
    (>= 1) hold for polls and result fetches together; *timeout* covers one request.
    """

    name: str
    api_key: Secret
    base_url: str = "https://client.camb.ai/apis"
    requests_per_second: float = 20
    concurrency: int = 64
    timeout: timedelta = timedelta(seconds=30)
