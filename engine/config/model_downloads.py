"""Download, verification and removal of a preset's model. Imports no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config.model_availability import NeededSource, needed_sources
from engine.config.presets import load_model_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, DailiesError, HubError
from engine.hub.cached import cached_b, find_damaged, remove, verified_b
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
    """Compare all needed files with their checksums; return a sentence for each fault.

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

    return [problem for source, one in on_hub for problem in find_damaged(source, one.needs, add, forget=forget)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRemoval:
    """Effect of a removal: deleted repositories, and those kept because other models need them.

    `also` are the keys of installed models that consist of the same repositories and are deleted as well. `kept` has
    the keys of the models that need a repository.
    """

    sources: tuple[HubSource, ...]
    size_b: int
    kept: Mapping[str, tuple[str, ...]]
    also: tuple[str, ...]

    def remarks(self) -> str:
        """Return what is deleted as well, and what is kept, in sentences; "" for nothing."""
        kept = "; ".join(f"{name} (for {', '.join(keys)})" for name, keys in self.kept.items())
        also = f" Also deletes {', '.join(self.also)}: the same weights." if self.also and self.sources else ""
        return also + (f" Kept for other models: {kept}." if kept else "")


def plan_removal(preset: ModelPreset) -> ModelRemoval:
    """Return what the removal of a model deletes. Raises ConfigError for a model in a local folder."""
    on_hub = {source.repository: source for one in needed_sources(preset) if (source := one.on_hub)}
    if not on_hub:
        raise ConfigError(f"{preset.title} is in the folder '{preset.source}': delete it there yourself.")
    others = _installed_repositories(preset.key)
    also = tuple(key for key, names in others.items() if names == on_hub.keys())
    kept = {
        name: keys
        for name in on_hub
        if (keys := tuple(key for key, names in others.items() if name in names and key not in also))
    }
    gone = tuple(source for name, source in on_hub.items() if name not in kept)
    return ModelRemoval(sources=gone, size_b=sum(cached_b(source) for source in gone), kept=kept, also=also)


def remove_model(preset: ModelPreset) -> int:
    """Delete a model's repositories that no other installed model needs; return the freed bytes."""
    return remove(plan_removal(preset).sources)


def _installed_repositories(but: str) -> dict[str, set[str]]:
    """Return the repositories of each other installed model that is on the hub."""
    found: dict[str, set[str]] = {}
    for key in preset_keys("models"):
        try:
            sources = needed_sources(load_model_preset(key)) if key != but else ()
        except DailiesError:
            continue
        if all(one.is_installed for one in sources):
            found[key] = {source.repository for one in sources if (source := one.on_hub)}
    return {key: names for key, names in found.items() if names}


def _hub(one: NeededSource) -> HubSource:
    source = one.on_hub
    if source is None:
        raise HubError(f"'{one.source}' is a path, not a hub id.")
    return source
