"""Checks of every HTTP request before a route handles it."""
