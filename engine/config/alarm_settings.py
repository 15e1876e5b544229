"""When a run's reward is to be suspected, as a recipe says it. Imports no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AlarmSettings(BaseModel):
    """Every `every` steps (0: never) clips of fixed prompts and seeds are made by the policy and compared, clip by
    clip, with those of the model before training.

    An alarm needs both: a mean that is past its limit, and a test over prompts that finds the change. The tests of all
    looks and of all that is watched share `false_alarms`. When a look is suspicious, as many prompts again are looked
    at before there is an alarm. The limits are close, so that a hack is found while little is lost (see docs/results.md
    for what was measured on `mini`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    every: int = Field(25, ge=0)
    """Updates between two looks; 0: none. A look makes `prompts` x `takes` clips."""
    action: Literal["log", "pause", "roll_back"] = "log"
    """log: say it. pause: end the run with a checkpoint. roll_back: end it, and put aside the checkpoints made since
    the last look that found nothing. Resuming goes on in spite of the alarms raised so far."""
    prompts: int = Field(8, ge=2)
    """How many of the prompts are looked at, `takes` clips each. Of fewer than 4 only `drift` is judged."""
    takes: int = Field(2, ge=2)
    """Clips of each prompt."""
    false_alarms: float = Field(0.05, gt=0, lt=1)
    """The chance that a run whose rewards are earned honestly raises any alarm, over all looks; `drift` has no test."""
    held_out: float = Field(0.05, gt=0)
    """How far a reward that is not trained on (see `watch`) may fall, of 0..1."""
    motion: float = Field(0.95, gt=0, le=1)
    """The least share of the base's speed that must be left."""
    diversity: float = Field(0.6, gt=0, le=1)
    """The least share of the base's difference between clips of one prompt that must be left."""
    drift: float = Field(0.5, gt=0)
    """How far the predictions may be from the base's, as a share of their size: what a KL of the policies measures."""
    divergence: float = Field(0.15, gt=0)
    """How far the rewards that are not trained on may fall together while the trained one rises: the mean of their
    changes, each in standard deviations of itself over prompts."""
