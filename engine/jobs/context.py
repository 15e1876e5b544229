"""What a handler gets besides its config: the store, and the model that stays loaded from job to job."""

import gc
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.config.presets import load_preset
from engine.execution.process_runner import Handle
from engine.execution.resources import Resources
from engine.storage.library import Library

if TYPE_CHECKING:
    from engine.model_spec import ModelFamily

log = logging.getLogger(__name__)


class ModelCache:
    """At most one loaded model: the last one asked for. The rewards' networks of this process go with it, unless
    `with_rewards` is off: who only watches another process has no say in them."""

    def __init__(self, *, with_rewards: bool = True) -> None:
        self.key: str | None = None
        self._family: ModelFamily | None = None
        self._with_rewards = with_rewards

    def open(self, key: str) -> "ModelFamily":
        """The model of a preset, loaded unless it is already. Raises ConfigError or FamilyError in one sentence."""
        if self._family is None or key != self.key:
            from engine.families.registry import open_model

            self._family = None
            self._free()
            self._family, self.key = open_model(load_preset("models", key)), key
            log.info("Loaded model %s.", key)
        return self._family

    def release(self) -> bool:
        """Give memory back, also to the device: the model's, and the rewards' networks'. False: nothing was loaded."""
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
    """One process's tools, and what the job was given; a handler keeps nothing of its own between jobs.

    `visible` keeps processes to the devices that the job holds, in their environment. `handle` is the process that does
    the job already, when this worker goes on for one that is gone.
    """

    store: Library
    model: ModelCache = field(default_factory=ModelCache)
    resources: Resources = field(default_factory=Resources)
    visible: Mapping[str, str | None] = field(default_factory=dict)
    handle: Handle | None = None
