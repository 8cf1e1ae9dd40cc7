"""Prometheus: what is counted as it happens, and what stands as it stands."""
