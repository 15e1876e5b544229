"""Example programs on top of Dailies."""
