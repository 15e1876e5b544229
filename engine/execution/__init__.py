"""Processes on this machine, Ray and Slurm behind one interface. Imports no torch."""
