"""The library of a workspace: its database, and the files of clips, images and uploads.

Imports no torch.
"""
