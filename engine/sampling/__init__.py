"""Noise schedules, denoising steps, and the sampling loop."""
