"""Data sets of the hub: which files they need, what they contain, and their tables in the workspace."""
