"""Calibration of the rewards and training of the `seam` reward's classifier."""
