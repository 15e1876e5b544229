"""Adapters: LoRA weights that Generate can put onto a model. Imports no torch.

adapters/<name>/   the weights (see `engine.families.lora_files`), adapter.json (an `AdapterCard`)
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.errors import ConfigError, StoreError
from engine.families.lora_files import has_weights
from engine.files.atomic import replace_folder
from engine.storage.temp_folders import temp_path
from engine.suggestions import did_you_mean
from engine.workspace import Workspace

CARD = "adapter.json"
EXTENDED = re.compile(r"(.+?)(?:-to-(\d+))?")

log = logging.getLogger(__name__)


class AdapterCard(BaseModel):
    """What lies beside the weights: which model they are for, and where they come from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    note: str = ""
    num_steps: int | None = None
    """How many steps the adapter is meant for, as a distilled student is; None: as the model."""
    guidance: float | None = None

    @property
    def recommended(self) -> dict[str, float | int]:
        """The fields of a request that suit the adapter better than the model's own."""
        wanted = {"num_steps": self.num_steps, "guidance": self.guidance}
        return {name: value for name, value in wanted.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One adapter on disk; `name` is what requests call it."""

    name: str
    folder: Path
    card: AdapterCard


def list_adapters(workspace: Workspace, model: str | None = None) -> list[Adapter]:
    """The adapters of a model (None: of all), by name; a folder that cannot be used is logged and left out."""
    return [one for one in _read_all(workspace) if model is None or one.card.model == model]


def newest_of_runs(workspace: Workspace) -> dict[str, Adapter]:
    """By run, the adapter that it came to last: named after it, and after an extension with the steps that it then had.

    A name stays with its weights, so that a clip, whose request names the adapter, can always be made again.
    """
    found: dict[str, tuple[int, Adapter]] = {}
    for adapter in list_adapters(workspace):
        parts = EXTENDED.fullmatch(adapter.name)
        assert parts is not None, "it matches anything"
        run, steps = parts[1], int(parts[2] or 0)
        if run not in found or steps > found[run][0]:
            found[run] = steps, adapter
    return {run: adapter for run, (_, adapter) in found.items()}


def find_adapter(workspace: Workspace, name: str, model: str) -> Adapter:
    """The model's adapter of this name. Raises ConfigError (did you mean) when there is none."""
    found = {one.name: one for one in list_adapters(workspace, model)}
    if name not in found:
        hint = did_you_mean(name, found) or "There is none for this model: leave the adapter empty."
        raise ConfigError(f"Unknown adapter '{name[:80]}' for model '{model}'. {hint}")
    return found[name]


def check_new_name(workspace: Workspace, name: str) -> None:
    """Raises ConfigError when an adapter cannot be called so, or one is."""
    if not name.strip() or name != Path(name).name or name.startswith(".") or not name.isprintable():
        raise ConfigError(f"'{name[:80]}' cannot be an adapter's name: use letters, digits, dashes and underscores.")
    if (workspace.adapters / name).exists():
        raise ConfigError(f"There is an adapter '{name[:80]}' already: choose another name.")


def add_adapter(workspace: Workspace, name: str, card: AdapterCard, write: Callable[[Path], None]) -> Path:
    """A new adapter, whole or not there; `write` puts the weights into a folder. Raises ConfigError, StoreError."""
    from safetensors import SafetensorError

    check_new_name(workspace, name)
    partial = temp_path(workspace, name)
    try:
        partial.mkdir(parents=True)
        workspace.adapters.mkdir(exist_ok=True)
        write(partial)
        write_card(partial, card)
        replace_folder(partial, workspace.adapters / name)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"The adapter '{name}' cannot be written ({error}): make room there.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return workspace.adapters / name


def write_card(folder: Path, card: AdapterCard) -> None:
    """Make a folder of weights an adapter. Write it after the weights, so that half a folder is none."""
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def has_card(folder: Path) -> bool:
    return (folder / CARD).is_file()


def _read_all(workspace: Workspace) -> Iterator[Adapter]:
    for path in sorted(workspace.adapters.glob(f"*/{CARD}")):
        try:
            card = AdapterCard.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            log.warning("%s is no adapter's card and is left out: %s", path, str(error).splitlines()[0])
            continue
        if has_weights(path.parent):
            yield Adapter(name=path.parent.name, folder=path.parent, card=card)
