"""Settings of a preset's reward-hacking alarms. Imports no torch."""

from typing import Literal

from pydantic import Field

from rewards.models import FiniteModel


class AlarmSettings(FiniteModel):
    """Periodic comparison of the policy with the model before training, on fixed prompts and seeds.

    Every `every` updates, the policy generates clips, which are compared with the base model's clips one by one. An
    alarm needs both a mean beyond its limit and a significant test over prompts. The tests of all checks and of all
    measures share `false_alarms`. A suspicious check is repeated on as many further prompts before an alarm is raised.
    The limits are tight, so that an alarm comes early (see docs/results.md for measurements on `mini`).
    """

    every: int = Field(25, ge=0)
    """Updates between two checks; 0: no checks. A check generates `prompts` x `takes` clips."""
    action: Literal["log", "pause", "roll_back"] = "log"
    """log: only log it. pause: end the run with a checkpoint. roll_back: end the run, and set aside the checkpoints
    since the last check without an alarm. A resumed run ignores the alarms raised so far."""
    prompts: int = Field(8, ge=2)
    """Number of prompts per check, with `takes` clips each. With fewer than 4, only `drift` is checked."""
    takes: int = Field(2, ge=2)
    """Clips per prompt."""
    false_alarms: float = Field(0.05, gt=0, lt=1)
    """Probability of any alarm in a run without reward hacking, over all checks; `drift` has no test."""
    held_out: float = Field(0.05, gt=0)
    """Maximum drop of a held-out reward (see `watch`), in 0..1."""
    motion: float = Field(0.95, gt=0, le=1)
    """Minimum speed of motion, relative to the base model."""
    diversity: float = Field(0.6, gt=0, le=1)
    """Minimum difference between clips of one prompt, relative to the base model."""
    drift: float = Field(0.5, gt=0)
    """Maximum distance of predictions from the base model's, relative to their size; a proxy of the KL divergence."""
    divergence: float = Field(0.15, gt=0)
    """Maximum joint drop of the held-out rewards while the trained one rises: the mean of their changes, each in
    standard deviations over prompts."""
