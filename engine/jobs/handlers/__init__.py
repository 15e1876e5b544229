"""Handlers: one function for each kind of job."""
