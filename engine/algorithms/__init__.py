"""Training objectives: a module for each family of papers, pure functions with equation numbers.

These modules depend on no model, trainer or file, and never import each other.
"""
