"""
What Camb's API says: the kinds of tasks (`kinds`), the answers to polls (`replies`) and results (`result_*`).

`refusals` tells Camb's own error bodies from a gateway's. `evidence` says when they prove that a task has ended.
"""
