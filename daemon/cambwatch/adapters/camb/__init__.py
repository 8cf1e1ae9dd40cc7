"""Camb.ai."""

from cambwatch.adapters.camb.api import CambClient

__all__ = ["CambClient"]
