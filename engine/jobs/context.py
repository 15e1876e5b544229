"""The context of a job's handler: the library, and the model that stays loaded between jobs."""

import gc
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.presets import load_preset
from engine.execution.process_runner import Handle
from engine.execution.resources import Resources
from engine.families.registry import open_model
from engine.storage.library import Library

if TYPE_CHECKING:
    from engine.family_interface import ModelFamily

log = logging.getLogger(__name__)


class ModelCache:
    """A cache of one model, the last that was opened.

    Releasing it also closes the rewards' networks of this process, unless `with_rewards` is off, as for a job that only
    monitors another process.
    """

    def __init__(self, *, with_rewards: bool = True) -> None:
        self.key: str | None = None
        self._family: ModelFamily | None = None
        self._with_rewards = with_rewards

    def open(self, key: str) -> "ModelFamily":
        """Return the model of a preset, loaded if needed. Raises ConfigError or FamilyError in one sentence."""
        if self._family is None or key != self.key:
            self._family = None
            self._free()
            self._family, self.key = open_model(load_preset("models", key)), key
            log.info("Loaded model %s.", key)
        return self._family

    def release(self) -> bool:
        """Free the memory of the model and the rewards' networks. Return False when nothing was loaded."""
        networks = sys.modules.get("rewards.networks.cache") if self._with_rewards else None
        closed = networks.close_networks() if networks is not None else 0
        if self._family is None and not closed:
            return False
        log.info("Released model %s and %d networks of rewards.", self.key, closed)
        self._family, self.key = None, None
        self._free()
        return True

    def _free(self) -> None:
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """The library, the model cache and the job's resources; a handler keeps no state between jobs.

    `visible` are environment variables that restrict processes to the job's devices. `handle` is the job's running
    process when this worker adopts the job of a former one. `preview` is the file for previews of clips that are being
    generated; None: there are none.
    """

    store: Library
    model: ModelCache = field(default_factory=ModelCache)
    resources: Resources = field(default_factory=Resources)
    visible: Mapping[str, str | None] = field(default_factory=dict)
    handle: Handle | None = None
    preview: Path | None = None
