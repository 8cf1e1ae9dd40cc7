"""The steps that lead from an empty database to schema.py, in order; a step that was released never changes."""
