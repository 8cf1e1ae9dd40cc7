"""
What follows from an attempt: `classification` and `chat_answers` read the response, `retry` decides when to try again.

`breaker` stops posting to a receiver that is down. `attempts` are the records that the store writes.
"""
