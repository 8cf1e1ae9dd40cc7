"""
When to poll, in reading order: `policy`, `start_order`, `histogram`, `estimate`, `cadence_model`.

A fixed interval polls too often while a task cannot be finished yet and too rarely when it probably is. So cambwatch
learns how long tasks of a kind take, and polls when a completion is likely, at the mean delay of the fixed interval.

1. `policy` is what the poller asks: the age of a task gives the next poll interval, fixed or by a schedule.
2. `start_order` turns polls into observations. A completion lies between the last PENDING and the first answer
   after it. Quick tasks of a batch finish first, so completions count in the order of their starts.
3. `histogram` keeps the observations of a kind in 400 logarithmic bins. Old ones fade, so that it follows Camb.
4. `estimate` smooths the histogram and computes the hazard: how likely a task of this age finishes next. With a
   cost per poll and a cost per second of delay, the best density of polls grows with the square root of the
   hazard. The price of a poll is tuned until the mean delay equals that of the configured interval.
5. `cadence_model` keeps one histogram per kind, and per label `size` within a kind, and decides when it is known
   well enough to use it. Until then the fixed interval applies.
"""
