"""Which models can be opened on this machine. Imports no torch and asks no network."""

import os

from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.families.loading import ALLOW_DOWNLOAD
from engine.families.registry import family_class
from engine.families.sources import DEFAULT_REVISION, HubSource, is_path, local_path


def missing_sources(preset: ModelPreset) -> tuple[str, ...]:
    """The folders, files and hub ids of a preset whose weights are not complete on this machine."""
    needed = [part for part in getattr(family_class(preset.family), "parts", {}) if part not in preset.parts]
    main = preset.source, ("model_index.json", *needed), preset.revision
    others = [(source, (), None) for source in preset.parts.values()]
    return tuple(source for source, parts, revision in (main, *others) if not _is_here(source, parts, revision))


def why_unavailable(preset: ModelPreset) -> str:
    """One sentence: the model is not installed, its size, and how to get it. Empty when it can be opened."""
    missing = missing_sources(preset)
    if not missing or os.environ.get(ALLOW_DOWNLOAD) == "1":
        return ""
    size = f" (about {preset.download_gb:.0f} GB)" if preset.download_gb else ""
    local = [source for source in missing if is_path(source)]
    if local:
        return f"{preset.title} is not installed: put its weights at '{local[0]}', or correct `source` in its preset."
    ids = " and ".join(_download(source, preset.revision if source == preset.source else None) for source in missing)
    return (
        f"{preset.title} is not installed{size}: run {ids}, start Dailies with {ALLOW_DOWNLOAD}=1, or set `source` in "
        "its preset to a folder that holds it."
    )


def check_available(preset: ModelPreset) -> None:
    """Raises ConfigError with the sentence of `why_unavailable`."""
    if why := why_unavailable(preset):
        raise ConfigError(why)


def _download(source: str, revision: str | None) -> str:
    wanted = HubSource.read(source, revision)
    at = f" --revision {wanted.revision}" if wanted.revision != DEFAULT_REVISION else ""
    return f"`hf download {wanted.repository}{at}`"


def _is_here(source: str, parts: tuple[str, ...], revision: str | None) -> bool:
    """Whether a folder or file exists, or the hub's cache holds every one of `parts` at the wanted revision."""
    if local_path(source) is not None:
        return True
    if is_path(source):
        return False
    wanted = HubSource.read(source, revision)
    folder = wanted.snapshot()
    return folder is not None and all(any(folder.glob(part)) for part in parts or (wanted.file or "*",))
