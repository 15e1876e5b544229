"""Download, verification and removal of a preset's model. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.config.model_availability import NeededSource, needed_sources
from engine.config.presets import load_model_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, DailiesError, HubError
from engine.hub.cached import cached_b, find_damaged, forget_damaged, remove, verified_b
from engine.hub.download import DownloadPlan, Progress, download, free_b, plan_download
from engine.hub.permission import check_permitted
from engine.hub.repository import HubSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDownload:
    """Effect of a model's download: bytes in all, bytes that remain, free bytes of the disk, access."""

    plans: tuple[DownloadPlan, ...]
    size_b: int
    remaining_b: int
    free_b: int
    gated: bool


def plan_model(preset: ModelPreset, token: str | None = None) -> ModelDownload:
    """Ask the hub what is missing of a model; no plan for an installed one.

    Raises HubError: downloads are forbidden, no network, no access. Raises ConfigError for a missing local folder.
    """
    missing = [one for one in needed_sources(preset) if not one.is_installed]
    local = [one.source for one in missing if one.on_hub is None]
    if local:
        raise ConfigError(f"'{local[0]}' is a path, not a hub id: put the weights there, or correct the preset.")
    if missing:
        check_permitted()
    plans = tuple(plan_download(_hub(one), one.needs, token) for one in missing)
    return ModelDownload(
        plans=plans,
        size_b=sum(plan.size_b for plan in plans),
        remaining_b=sum(plan.remaining_b for plan in plans),
        free_b=free_b(),
        gated=any(plan.listing.gated for plan in plans),
    )


def fetch_model(preset: ModelPreset, progress: Progress | None = None, token: str | None = None) -> list[Path]:
    """Download what is missing of a model and return the new folders; see `engine.hub.download.download`."""
    return download(plan_model(preset, token).plans, progress, token)


def verify_model(
    preset: ModelPreset, progress: Callable[[int, int], None] | None = None, *, forget: bool = False
) -> list[str]:
    """Compare every needed file with its checksum; return a sentence for each that is missing or damaged.

    `progress` is called with bytes read and bytes in all. With `forget`, damaged files are deleted, so that the next
    download replaces them. Raises ConfigError for a model in a local folder, which has no checksums.
    """
    on_hub = [(source, one) for one in needed_sources(preset) if (source := one.on_hub)]
    if not on_hub:
        raise ConfigError(f"{preset.title} is in a local folder, for which the hub gives no checksums.")
    total, done = sum(verified_b(source, one.needs) for source, one in on_hub), 0

    def add(size_b: int) -> None:
        nonlocal done
        done += size_b
        if progress is not None:
            progress(done, total)

    problems = [problem for source, one in on_hub for problem in find_damaged(source, one.needs, add)]
    if problems and forget:
        for source, one in on_hub:
            forget_damaged(source, one.needs)
    return problems


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRemoval:
    """Effect of a removal: deleted repositories, and those kept because other models need them."""

    sources: tuple[HubSource, ...]
    size_b: int
    kept: tuple[str, ...]


def plan_removal(preset: ModelPreset) -> ModelRemoval:
    """Return what the removal of a model deletes. Raises ConfigError for a model in a local folder."""
    on_hub = [source for one in needed_sources(preset) if (source := one.on_hub)]
    if not on_hub:
        raise ConfigError(f"{preset.title} is in the folder '{preset.source}': delete it there yourself.")
    used = _used_by_others(preset.key)
    gone = tuple(source for source in on_hub if source.repository not in used)
    kept = tuple(source.repository for source in on_hub if source.repository in used)
    return ModelRemoval(sources=gone, size_b=sum(cached_b(source) for source in gone), kept=kept)


def remove_model(preset: ModelPreset) -> int:
    """Delete a model's repositories that no other installed model needs; return the freed bytes."""
    return remove(plan_removal(preset).sources)


def _used_by_others(key: str) -> set[str]:
    """Return the repositories that other installed models need."""
    used: set[str] = set()
    for other in preset_keys("models"):
        try:
            sources = needed_sources(load_model_preset(other)) if other != key else ()
        except DailiesError:
            continue
        if all(one.is_installed for one in sources):
            used |= {source.repository for one in sources if (source := one.on_hub)}
    return used


def _hub(one: NeededSource) -> HubSource:
    source = one.on_hub
    if source is None:
        raise HubError(f"'{one.source}' is a path, not a hub id.")
    return source
