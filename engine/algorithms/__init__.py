"""What a run optimises: one paper a file, pure functions of tensors, equation numbers cited.

Nothing here knows a model, a trainer or a file. A file never imports another of this folder.
"""
