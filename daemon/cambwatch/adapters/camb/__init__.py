"""Camb.ai."""

from cambwatch.adapters.camb.asking import Camb

__all__ = ["Camb"]
