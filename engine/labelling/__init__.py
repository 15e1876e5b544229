"""Labelling campaigns: pairs, assignments, votes, and the preference data made from them. Imports no torch."""
