"""Readings of this machine's GPUs from the vendors' tools and drivers. Imports no torch."""
