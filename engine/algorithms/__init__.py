"""Training objectives: one paper or family of papers a module, pure functions of tensors with equation numbers.

These modules depend on no model, trainer or file, and never import each other.
"""
