"""Estimates of memory and time, made without loading a model. Imports no torch."""
