"""
The daemon as a process: `process` runs one `generation` (the life of one configuration) after the other.

`assembly` is the composition root: it builds all components of a generation. `sockets` listen as long as the process.
"""
