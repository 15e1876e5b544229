"""The embedded model: a toy world drawn by code, the script that trains `assets/mini` on it, and its judge."""
