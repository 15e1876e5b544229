"""Exit codes of `engine.training.main`, for its supervisor. Imports no torch."""

FINISHED = 0
FAILED = 2
STOPPED = 3
"""Stopped early, without an error."""
REFUSED = 4
"""The run's settings are invalid."""
