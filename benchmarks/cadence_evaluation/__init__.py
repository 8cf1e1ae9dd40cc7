"""
What a polling policy costs on given durations: requests per task, and the delay until a completion is noticed.

comparison.py reads from the top: observed durations (durations_file.py) become a distribution (lifetimes.py), and tasks
drawn from it are replayed (replay.py) under each policy (policies.py, equal_probability.py, optimum.py; plot.py draws).
"""
