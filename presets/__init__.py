"""Presets, installed as package data: models, training recipes, reward mixes, curricula and prompts."""
