"""The loops: they wait, ask, do what the core decides, and write it down."""
