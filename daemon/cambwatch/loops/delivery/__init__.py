"""
Delivers notifications: `deliverer` runs one `worker` per destination, so that no receiver delays another.

A worker reads due deliveries through its `window`, composes the request, sends it and records the attempt.
"""
