"""Adapters of other programs: the names of their formats and layers, import and export."""
