"""Unit tests keep nothing on disk, and no example fails for being slow once."""

from hypothesis import settings

settings.register_profile("unit", database=None, deadline=None, max_examples=60)
settings.load_profile("unit")
