"""Estimates of memory and time before a model is loaded. Imports no torch."""
