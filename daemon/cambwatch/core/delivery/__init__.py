"""
What follows from an attempt: `classification` and `chat_answers` read the response, `retry` and `ramp` set the pace.

`breaker` stops posting to a receiver that is down. `attempts` are the records; `signature` signs a request.
"""
