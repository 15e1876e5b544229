"""The options of commands that export an adapter."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ConfigError, StoreError
from engine.families.exchange.exporting import FORMATS


def add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="new folder to write to")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="diffusers",
        help="names of the layers: those of diffusers (default), ComfyUI, or kohya's sd-scripts and musubi-tuner",
    )


@contextmanager
def new_export(folder: Path) -> Iterator[None]:
    """Refuse a folder that exists (ConfigError) and one that cannot be written (StoreError)."""
    if folder.exists():
        raise ConfigError(f"{folder} already exists: choose another folder.")
    try:
        yield
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error}): make room, or choose another folder.") from error
