"""
The HTTP API: one module per resource, each with its endpoints; `views` are the JSON bodies of tasks and groups.

`requests` reads query parameters and JSON. `registration` validates what a client asks cambwatch to watch.
"""
