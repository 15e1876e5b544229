"""Availability of models on this machine. Imports no torch and uses no network."""

from dataclasses import dataclass
from typing import Literal

from engine.config.schema import ModelPreset
from engine.errors import ConfigError, DailiesError, FamilyError
from engine.families.base import folder_needs, preferred_variant
from engine.families.files.sources import is_path, local_path
from engine.families.loading import INDEX_FILE, NETWORK, check_parts
from engine.families.registry import family_class
from engine.hardware.weight_storage import check_library
from engine.hub.cached import cached_b, is_complete
from engine.hub.permission import ALLOW_DOWNLOAD, is_automatic, is_forbidden
from engine.hub.repository import HubSource
from engine.hub.selection import Needs, missing_files

ModelStatus = Literal["installed", "incomplete", "missing", "incompatible"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededSource:
    """One source of a preset, and the files that the model needs of it."""

    source: str
    revision: str | None
    needs: Needs

    @property
    def on_hub(self) -> HubSource | None:
        """The hub repository; None for a folder or file, existing or not."""
        if local_path(self.source) is not None or is_path(self.source):
            return None
        return HubSource.read(self.source, self.revision)

    @property
    def is_installed(self) -> bool:
        """True when the path, or the hub's cache at the revision, has all needed files."""
        hub_source = self.on_hub
        return not self.lacking if hub_source is None else is_complete(hub_source, self.needs)

    @property
    def lacking(self) -> str:
        """The first needed file that a path lacks, or the path; "" if it has all, or is no folder of a model."""
        path = local_path(self.source)
        if path is None:
            return self.source
        missing = missing_files(path, self.needs) if path.is_dir() else []
        return "" if not missing or INDEX_FILE in missing else str(path / missing[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """State of a model on this machine.

    `incomplete`: a part of the files is in the hub's cache, `cached_b` bytes. `reason` is one sentence for a model that
    cannot be used, "" for an installed one.
    """

    status: ModelStatus
    reason: str = ""
    cached_b: int = 0


def needed_sources(preset: ModelPreset) -> tuple[NeededSource, ...]:
    """Return all sources of a preset: its own, then those of parts from elsewhere.

    Weights in the model's own half precision are preferred.
    """
    variant = preferred_variant(preset.dtype)
    family = family_class(preset.family)
    main = NeededSource(
        source=preset.source,
        revision=preset.revision,
        needs=folder_needs(family, preset.parts, variant),  # type: ignore[arg-type]
    )
    return (main, *(_part(source, variant) for source in preset.parts.values()))


def _part(source: str, variant: str | None) -> NeededSource:
    file = "" if is_path(source) else HubSource.read(source).file
    needs = Needs(files=(file,)) if file else Needs(parts=NETWORK.parts, files=NETWORK.files, variant=variant)
    return NeededSource(source=source, revision=None, needs=needs)


def model_state(preset: ModelPreset) -> ModelState:
    """Return the state of a model, from the files of this machine."""
    try:
        check_library(preset.weights)
        sources = needed_sources(preset)
        missing = [one for one in sources if not one.is_installed]
        if not missing:
            _check_installed(preset, sources[0])
            return ModelState(status="installed")
    except DailiesError as error:
        return ModelState(status="incompatible", reason=str(error))
    local = [one.lacking for one in missing if one.on_hub is None]
    if local:
        return ModelState(
            status="missing",
            reason=f"{preset.title} is not installed: put its weights at '{local[0]}', or correct `source` in its "
            "preset.",
        )
    present_b = sum(cached_b(one.on_hub) for one in missing if one.on_hub)
    return ModelState(
        status="incomplete" if present_b else "missing", reason=_how_to_get(preset, missing), cached_b=present_b
    )


def why_unavailable(preset: ModelPreset) -> str:
    """Return one sentence with the model's size and how to install it; "" if it can be loaded."""
    state = model_state(preset)
    is_downloadable = state.status in ("missing", "incomplete") and all(
        one.on_hub for one in needed_sources(preset) if not one.is_installed
    )
    return "" if state.status == "installed" or (is_downloadable and is_automatic()) else state.reason


def check_available(preset: ModelPreset) -> None:
    """Raise ConfigError with the sentence of `why_unavailable` if the model cannot be loaded."""
    if reason := why_unavailable(preset):
        raise ConfigError(reason, field="model")


def _how_to_get(preset: ModelPreset, missing: list[NeededSource]) -> str:
    size = f" (about {preset.download_gb:.0f} GB)" if preset.download_gb else ""
    if is_forbidden():
        ids = " and ".join(f"'{one.source}'" for one in missing)
        return (
            f"{preset.title} is not installed{size}, and {ALLOW_DOWNLOAD}=0 forbids downloads: put {ids} into the "
            "hub's cache, or set `source` in its preset to a folder that contains it."
        )
    return (
        f"{preset.title} is not installed{size}: run `dailies models get {preset.key}`, download it on the page "
        "(System, Models), or set `source` in its preset to a folder that contains it."
    )


def _check_installed(preset: ModelPreset, main: NeededSource) -> None:
    """Raise FamilyError when the installed folder belongs to another family or lacks a part."""
    folder = main.on_hub.snapshot() if main.on_hub else local_path(main.source)
    if folder is None or not folder.is_dir():
        raise FamilyError(f"'{preset.source}' is no diffusers folder: name one in the preset of {preset.title}.")
    parts = getattr(family_class(preset.family), "parts", {})
    check_parts(folder, {part: name for part, name in parts.items() if part not in preset.parts})
