"""Reward heads: small models over the features of a clip, trained on votes."""
