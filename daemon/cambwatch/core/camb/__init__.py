"""
What Camb's API says: the kinds of tasks (`kinds`), the answers to polls (`replies`) and results (`result_*`).

`link_scan` finds the links of results that are too large to parse. `evidence` says when they prove
that a task has ended.
"""
