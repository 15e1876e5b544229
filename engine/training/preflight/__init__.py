"""Checks of a run before it starts: `python -m engine.training.preflight RUN_FOLDER`."""
