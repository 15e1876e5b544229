"""Labelling campaigns: pairs, assignments, votes and preference data. Imports no torch."""
