"""Assets, installed as package data: the `mini` model, reward networks, calibration and reference clips."""
