"""Benchmarks of a user's own machine: parts of generation and training, and whole training iterations."""
