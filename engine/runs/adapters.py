"""Adapters: LoRA weights that Generate can put onto a model. Imports no torch.

adapters/<name>/   the weights (see `engine.families.lora_files`), adapter.json (an `AdapterCard`)
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from engine.config.presets import load_model_preset
from engine.errors import ConfigError, StoreError
from engine.families.files.single_files import read_header
from engine.families.lora_files import SIDES, adapter_files, has_weights
from engine.storage.temp_folders import remove_whole, replaced_folder
from engine.workspace import Workspace
from rewards.errors import did_you_mean
from rewards.models import FiniteModel

CARD = "adapter.json"
EXTENDED = re.compile(r"(.+?)(?:-to-(\d+))?")

log = logging.getLogger(__name__)


class AdapterCard(FiniteModel):
    """Metadata stored with an adapter's weights: their model and their origin."""

    model: str
    note: str = ""
    """Where it is from: the run, or the file and what was said when it was imported."""
    trigger: str = ""
    """Text that the adapter was trained with, to be put into prompts."""
    num_steps: int | None = None
    """The number of steps that the adapter was trained for, such as a distilled student's; None: the model's."""
    guidance: float | None = None
    distilled: bool = False
    """Distilled to `num_steps` steps without guidance: a run that begins with it, or over it, uses these."""

    @property
    def recommended(self) -> dict[str, float | int]:
        """The request fields that override the model's defaults for this adapter."""
        settings = {"num_steps": self.num_steps, "guidance": self.guidance}
        return {name: value for name, value in settings.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One adapter on disk; requests refer to it by `name`."""

    name: str
    folder: Path
    card: AdapterCard

    def ranks(self) -> list[int]:
        """Return the rank of each layer, from the headers of the files. Raises FamilyError for a damaged file."""
        tensors = [read_header(file).items() for file in adapter_files(self.folder)]
        return [stored.shape[0] for items in tensors for key, stored in items if key.endswith(SIDES[0])]


def list_adapters(workspace: Workspace, model: str | None = None) -> list[Adapter]:
    """Return the adapters of a model (None: all models) by name; unusable folders are logged and left out."""
    return [adapter for adapter in _read_all(workspace) if model is None or is_of_model(adapter, model)]


def is_of_model(adapter: Adapter, model: str) -> bool:
    """Return True for an adapter of this model, or of one with the same weights."""
    if adapter.card.model == model:
        return True
    try:
        own, other = (load_model_preset(key) for key in (adapter.card.model, model))
    except ConfigError:
        return False
    return (own.source, own.revision, own.parts) == (other.source, other.revision, other.parts)


def newest_of_runs(workspace: Workspace) -> dict[str, Adapter]:
    """Return the newest adapter of each run, named after the run and, once extended, its steps.

    A name stays with its weights, so that a clip whose request names the adapter can always be generated again.
    """
    newest: dict[str, tuple[int, Adapter]] = {}
    for adapter in list_adapters(workspace):
        parts = EXTENDED.fullmatch(adapter.name)
        assert parts is not None, "it matches anything"
        run, steps = parts[1], int(parts[2] or 0)
        if run not in newest or steps > newest[run][0]:
            newest[run] = steps, adapter
    return {run: adapter for run, (_, adapter) in newest.items()}


def find_adapter(workspace: Workspace, name: str, model: str) -> Adapter:
    """Return the model's adapter of this name. Raises ConfigError with a suggestion for an unknown name."""
    adapters = {adapter.name: adapter for adapter in list_adapters(workspace, model)}
    if name not in adapters:
        others = {adapter.name: adapter.card.model for adapter in list_adapters(workspace)}
        hint = did_you_mean(name, adapters) or "There is none for this model: leave the adapter empty."
        if name in others:
            hint = (
                f"It is of '{others[name]}'. If it fits (`dailies adapters ls --model {model}`), import its "
                f"file again with --model {model}."
            )
        raise ConfigError(f"Unknown adapter '{name[:80]}' for model '{model}'. {hint}")
    return adapters[name]


def get_adapter(workspace: Workspace, name: str) -> Adapter:
    """Return the adapter of this name, of any model. Raises ConfigError for an unknown name."""
    found = {adapter.name: adapter for adapter in list_adapters(workspace)}
    if name not in found:
        raise ConfigError(f"Unknown adapter '{name[:80]}'. {did_you_mean(name, found)}")
    return found[name]


def scales_text(scales: Mapping[str, float]) -> str:
    """Return names of adapters with their scales, such as "film-look at 0.8 + motion"."""
    return " + ".join(name if scale == 1 else f"{name} at {scale:g}" for name, scale in scales.items())


def combined_card(adapters: Mapping[str, Adapter], scales: Mapping[str, float], model: str) -> AdapterCard:
    """Return the card of several adapters of a model in one; it is distilled if one of them is.

    Raises ConfigError for adapters that are distilled to different numbers of steps.
    """
    cards = {name: adapters[name].card for name in scales}
    few = {name: card.num_steps for name, card in cards.items() if card.distilled and card.num_steps}
    if len(set(few.values())) > 1:
        steps = " and ".join(f"'{name}' to {count}" for name, count in few.items())
        raise ConfigError(f"The adapters are distilled to different steps ({steps}): leave all but one out.")
    distilled = {"num_steps": next(iter(few.values())), "guidance": 1.0, "distilled": True} if few else {}
    triggers = ", ".join(dict.fromkeys(card.trigger for card in cards.values() if card.trigger))
    return AdapterCard(model=model, note=scales_text(scales), trigger=triggers, **distilled)


def check_new_name(workspace: Workspace, name: str) -> None:
    """Raise ConfigError when the name is invalid or in use."""
    if not name.strip() or name != Path(name).name or name.startswith(".") or not name.isprintable():
        raise ConfigError(f"'{name[:80]}' cannot be an adapter's name: use letters, digits, dashes and underscores.")
    if (workspace.adapters / name).exists():
        raise ConfigError(f"There is an adapter '{name[:80]}' already: choose another name.")


def add_adapter(workspace: Workspace, name: str, card: AdapterCard, write: Callable[[Path], None]) -> Path:
    """Create an adapter atomically; `write` writes the weights into a folder.

    Raises ConfigError or StoreError.
    """
    from safetensors import SafetensorError

    check_new_name(workspace, name)
    try:
        with replaced_folder(workspace.adapters / name) as partial:
            write(partial)
            write_card(partial, card)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"The adapter '{name}' cannot be written ({error}): make room there.") from error
    return workspace.adapters / name


def remove_adapter(workspace: Workspace, name: str) -> None:
    """Delete an adapter of the workspace. Raises ConfigError for an unknown name, StoreError."""
    try:
        remove_whole(get_adapter(workspace, name).folder)
    except OSError as error:
        raise StoreError(f"The adapter '{name}' cannot be deleted: {error.strerror or error}.") from error


def write_card(folder: Path, card: AdapterCard) -> None:
    """Write the card that makes a folder of weights an adapter.

    After the weights, so a partial folder is none.
    """
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> AdapterCard | None:
    """Return the card of a folder of weights; None for one without. Raises StoreError when it is damaged."""
    try:
        return AdapterCard.model_validate_json((folder / CARD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StoreError(f"{folder / CARD} is no adapter's card: {str(error).splitlines()[0]}") from error


def has_card(folder: Path) -> bool:
    return (folder / CARD).is_file()


def _read_all(workspace: Workspace) -> Iterator[Adapter]:
    for path in sorted(workspace.adapters.glob(f"[!.]*/{CARD}")):
        try:
            card = read_card(path.parent)
        except StoreError as error:
            log.warning("%s, and is left out", error)
            continue
        if card is not None and has_weights(path.parent):
            yield Adapter(name=path.parent.name, folder=path.parent, card=card)
