"""
When to poll: `policy` turns the age of a task and what was learned into the next poll interval.

`start_order` and `histogram` observe how long tasks take. `density`, `estimate` and `tuning` turn that into a
schedule with few polls and a bounded mean delay. `model` keeps one estimate per kind and size.
"""
