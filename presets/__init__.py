"""Presets, installed as package data: models, training presets, reward mixes, curricula and prompts."""
