"""The folder of a run: metrics, checkpoints, adapters, samples and results. Imports no torch."""
