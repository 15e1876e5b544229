"""Sources of a model: hub repositories, folders, single files."""
