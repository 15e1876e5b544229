"""Paths of the package data `assets/` and `presets/`, in a checkout and in site-packages."""

from importlib.resources import files
from pathlib import Path

from rewards.weights.assets import ASSETS

PRESETS = Path(str(files("presets")))

IMPORT_ROOT = Path(__file__).parents[1]
"""The folder that contains our packages. Child processes start in it, so that they import the same code."""


def shipped_path(source: str) -> Path | None:
    """Return the path of a source such as `assets/mini`.

    None for a source that is not shipped with the product.
    """
    parts = Path(source).parts
    path = ASSETS.joinpath(*parts[1:]) if parts[:1] == (ASSETS.name,) else None
    return path if path is not None and path.exists() else None
