"""Files that are whole or absent: atomic writes, locks between processes, and readers of text formats.

Imports no torch.
"""
