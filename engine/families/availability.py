"""Which models can be opened on this machine. Imports no torch and asks no network."""

import os
from pathlib import Path

from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.families import ROOT, family_class
from engine.families.loading import ALLOW_DOWNLOAD


def missing_sources(preset: ModelPreset) -> tuple[str, ...]:
    """The folders, files and hub ids of a preset whose weights are not complete on this machine."""
    needed = [part for part in getattr(family_class(preset.family), "parts", {}) if part not in preset.parts]
    sources = [(preset.source, ("model_index.json", *needed)), *((source, ()) for source in preset.parts.values())]
    return tuple(source for source, parts in sources if not _is_here(source, parts))


def why_unavailable(preset: ModelPreset) -> str:
    """One sentence: the model is not installed, its size, and how to get it. Empty when it can be opened."""
    missing = missing_sources(preset)
    if not missing or os.environ.get(ALLOW_DOWNLOAD) == "1":
        return ""
    size = f" (about {preset.download_gb:.0f} GB)" if preset.download_gb else ""
    local = [source for source in missing if _is_path(source)]
    if local:
        return f"{preset.title} is not installed: put its weights at '{local[0]}', or correct `source` in its preset."
    ids = " and ".join(f"`hf download {'/'.join(source.split('/')[:2])}`" for source in missing)
    return (
        f"{preset.title} is not installed{size}: run {ids}, start Dailies with {ALLOW_DOWNLOAD}=1, or set `source` in "
        "its preset to a folder that holds it."
    )


def check_available(preset: ModelPreset) -> None:
    """Raises ConfigError with the sentence of `why_unavailable`."""
    if why := why_unavailable(preset):
        raise ConfigError(why)


def _is_path(source: str) -> bool:
    return source.startswith(("/", ".", "~")) or source.count("/") not in (1, 2)


def _is_here(source: str, parts: tuple[str, ...]) -> bool:
    """Whether a folder or file exists, or a snapshot in the hub's cache holds every one of `parts`."""
    if any(path.exists() for path in (ROOT / source, Path(source).expanduser())):
        return True
    if _is_path(source):
        return False
    owner, name, *file = source.split("/")
    wanted = parts or tuple(file) or ("*",)
    return any(all(any(folder.glob(part)) for part in wanted) for folder in _snapshots(owner, name))


def _snapshots(owner: str, name: str) -> list[Path]:
    from huggingface_hub import constants

    return list((Path(constants.HF_HUB_CACHE) / f"models--{owner}--{name}" / "snapshots").glob("*"))
