"""The hub's client: selection, download, verification and removal of a model's files."""
