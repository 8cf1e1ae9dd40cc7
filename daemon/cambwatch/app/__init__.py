"""
The daemon as a process: `process` runs one `generation` (the life of one configuration) after the other.

`assembly` is the composition root: it builds all parts of a generation. `sockets` and `signals` belong to the process.
"""
