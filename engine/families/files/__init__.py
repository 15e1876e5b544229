"""What a model is read from: sources of a preset, folders, single files."""
