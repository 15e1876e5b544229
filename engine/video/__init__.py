"""Read and write video files. Imports no torch."""
