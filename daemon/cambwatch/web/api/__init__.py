"""
The HTTP API: one module per resource, each with its endpoints; `views` are the JSON bodies they answer with.

`registration` validates what a client asks cambwatch to watch. `query_parameters` validates filters.
"""
