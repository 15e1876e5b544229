"""Adapters: LoRA weights that Generate can put onto a model. Imports no torch.

adapters/<name>/   pytorch_lora_weights.safetensors, adapter.json (an `AdapterCard`)
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.config.suggest import did_you_mean
from engine.data.workspace import Workspace
from engine.errors import ConfigError
from engine.families.adapters import WEIGHTS_FILE

CARD = "adapter.json"
EXTENDED = re.compile(r"(.+?)(?:-to-(\d+))?")

log = logging.getLogger(__name__)


class AdapterCard(BaseModel):
    """What lies beside the weights: which model they are for, and where they come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        if (path.parent / WEIGHTS_FILE).is_file():
            yield Adapter(name=path.parent.name, folder=path.parent, card=card)
