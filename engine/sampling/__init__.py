"""Schedules, steps, and the one loop that walks from noise to latents."""
