"""What ways of polling would cost, on durations that were drawn or that a user has recorded."""
