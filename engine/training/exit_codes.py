"""Exit codes of `engine.training.main`, by which its supervisor tells how a run ended. Imports no torch."""

FINISHED = 0
FAILED = 2
STOPPED = 3
"""Stopped early, without an error."""
REFUSED = 4
"""The run's settings are invalid."""
