"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A deadline for each example would be a timing bar, and a busy machine would fail it.
settings.register_profile("cambwatch", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("cambwatch")
