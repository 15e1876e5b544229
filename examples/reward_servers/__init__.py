"""Learned rewards as external rewards: declarations, and functions in TRL's protocol that load the published models."""
