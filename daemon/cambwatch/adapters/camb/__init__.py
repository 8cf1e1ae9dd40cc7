"""Camb.ai."""

from cambwatch.adapters.camb.api import Camb

__all__ = ["Camb"]
