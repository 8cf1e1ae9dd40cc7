"""cambwatch: hears when a task on Camb.ai ends, and tells those who wait for it."""

__version__ = "0.1.0"
