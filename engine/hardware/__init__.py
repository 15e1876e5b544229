"""Devices, their environment and telemetry."""
