"""The folder `assets/`, which is installed as package data: networks, calibration and reference clips."""

from importlib.resources import files
from pathlib import Path

ASSETS = Path(str(files("assets")))
