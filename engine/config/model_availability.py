"""Availability of models on this machine. Imports no torch and uses no network."""

import os

from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.families.loading import ALLOW_DOWNLOAD
from engine.families.registry import family_class
from engine.families.sources import DEFAULT_REVISION, HubSource, is_path, local_path


def missing_sources(preset: ModelPreset) -> tuple[str, ...]:
    """Return the folders, files and hub ids of a preset whose weights are incomplete on this machine."""
    required = [part for part in getattr(family_class(preset.family), "parts", {}) if part not in preset.parts]
    main = preset.source, ("model_index.json", *required), preset.revision
    others = [(source, (), None) for source in preset.parts.values()]
    return tuple(source for source, parts, revision in (main, *others) if not _is_local(source, parts, revision))


def why_unavailable(preset: ModelPreset) -> str:
    """Return one sentence with the model's size and how to install it; "" if it can be loaded."""
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
        "its preset to a folder that contains it."
    )


def check_available(preset: ModelPreset) -> None:
    """Raise ConfigError with the sentence of `why_unavailable` if the model cannot be loaded."""
    if reason := why_unavailable(preset):
        raise ConfigError(reason)


def _download(source: str, revision: str | None) -> str:
    hub_source = HubSource.read(source, revision)
    option = f" --revision {hub_source.revision}" if hub_source.revision != DEFAULT_REVISION else ""
    return f"`hf download {hub_source.repository}{option}`"


def _is_local(source: str, parts: tuple[str, ...], revision: str | None) -> bool:
    """Return whether a path exists, or the hub's cache has all `parts` at the requested revision."""
    if local_path(source) is not None:
        return True
    if is_path(source):
        return False
    hub_source = HubSource.read(source, revision)
    folder = hub_source.snapshot()
    return folder is not None and all(any(folder.glob(part)) for part in parts or (hub_source.file or "*",))
