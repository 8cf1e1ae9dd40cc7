"""
Polls Camb: `poller` pops due tasks from one `account_queue` per API key and concludes finished ones (`conclusion`).

`learner` feeds durations back into the poll intervals; `late_results` fetches results that came too late.
"""
