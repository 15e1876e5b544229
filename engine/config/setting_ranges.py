"""Valid ranges of the trainers' settings, in one table. Imports no torch.

A range covers the numbers that the code can represent. A clip's shape has the limits of `GenerationRequest`, because
every clip of a run comes from such a request.
"""

import math
from collections.abc import Mapping

from engine.request import GenerationRequest
from rewards.models import FrozenModel

STEP_LIMIT = 10_000_000
"""Maximum number of updates of a run."""


class Range(FrozenModel):
    """Numbers from `least` to `most`, None for no limit.

    `least_out` and `most_out` exclude the limit itself.
    """

    least: float | None = None
    most: float | None = None
    least_out: bool = False
    most_out: bool = False

    def contains(self, value: float) -> bool:
        """Return whether the number is finite, within the limits, and fits into 64 bits."""
        low = self.least is None or (value > self.least if self.least_out else value >= self.least)
        high = self.most is None or (value < self.most if self.most_out else value <= self.most)
        return low and high and (isinstance(value, int) or math.isfinite(value)) and abs(value) < 2**63

    @property
    def words(self) -> str:
        """The range in words, such as "0 to 4,294,967,295", "above 0" or "at least 0 and below 1"."""
        low = None if self.least is None else f"{'above' if self.least_out else 'at least'} {_number(self.least)}"
        high = None if self.most is None else f"{'below' if self.most_out else 'at most'} {_number(self.most)}"
        if low and high and not self.least_out and not self.most_out:
            return f"{_number(self.least or 0)} to {_number(self.most or 0)}"
        return " and ".join(part for part in (low, high) if part) or "a finite number"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def range_of_request(name: str) -> Range:
    """Return the limits of a request's field."""
    limits: dict[str, float | bool] = {}
    for limit in GenerationRequest.model_fields[name].metadata:
        for key, (side, out) in {"ge": ("least", False), "gt": ("least", True), "le": ("most", False)}.items():
            if (value := getattr(limit, key, None)) is not None:
                limits |= {side: value, f"{side}_out": out}
    return Range(**limits)


def _from(least: float, most: float | None = None) -> Range:
    return Range(least=least, most=most)


def _above(least: float, most: float | None = None) -> Range:
    return Range(least=least, most=most, least_out=True)


_COUNT, _SHARE_BELOW = _from(1, 65_536), Range(least=0, most=1, most_out=True)
_STEPS = range_of_request("num_steps")

RANGES: Mapping[str, Range] = {
    **{name: range_of_request(name) for name in ("num_frames", "width", "height", "fps", "num_steps", "guidance")},
    "sample_steps": _STEPS,
    "student_steps": _STEPS,
    "window": _STEPS,
    "seed": _from(0, 2**32 - 1),  # the limit of NumPy seeds
    "max_steps": _from(1, STEP_LIMIT),
    "num_train_epochs": _above(0, STEP_LIMIT),
    "per_device_train_batch_size": _COUNT,
    "gradient_accumulation_steps": _COUNT,
    "num_generations": _from(2, 65_536),
    "rollout_batch": _COUNT,
    "rollout_clips": _COUNT,
    "generation_batch_size": _COUNT,
    "num_iterations": _COUNT,
    "steps_per_rollout": _COUNT,
    "levels_per_clip": _from(1, 1000),
    "level_share": _above(0, 1),
    "preference_beta": _above(0),
    "dataloader_num_workers": _from(0, 256),
    "learning_rate": _above(0, 10),
    "warmup_steps": _from(0, STEP_LIMIT),
    "weight_decay": _from(0, 10),
    "adam_beta1": _SHARE_BELOW,
    "adam_beta2": _SHARE_BELOW,
    "adam_epsilon": _above(0, 1),
    "max_grad_norm": _from(0),
    "lora_rank": _from(0, 4096),
    "lora_alpha": _from(1, 1_000_000),
    "frozen_scale": _above(0, 10),
    "ema_decay": _SHARE_BELOW,
    "beta": _from(0),
    "error_scale": _above(0),
    "label_smoothing": _from(0, 0.5),
    "prompt_dropout": _SHARE_BELOW,
    "pair_weight_power": _from(0, 10),
    "margin_scale": _from(0, 1000),
    "desirable_weight": _from(0, 1000),
    "undesirable_weight": _from(0, 1000),
    "epsilon": _above(0),
    "epsilon_high": _above(0),
    "noise_level": _above(0),
    "advantage_floor": _from(0),
    "data_weight": _above(0),
    "advantage_limit": _above(0),
    "mixing": _above(0, 1),
    "old_decay_flat": _from(0, STEP_LIMIT),
    "old_decay_slope": _from(0),
    "old_decay_most": _SHARE_BELOW,
    "moving_beta": _from(0),
    "moving_decay_slope": _from(0),
    "moving_decay_most": _SHARE_BELOW,
    "huber": _above(0),
    "backprop_steps": _STEPS,
    "decode_frames": _COUNT,
    "critic_updates": _from(1, 1000),
    "critic_learning_rate": _above(0, 10),
    "step_share": _above(0, 1),
    "steps_per_replay": _from(1, 1000),
    "window_every": _from(1, STEP_LIMIT),
    "sample_clips": _from(0, 1000),
    "sample_every": _from(1, STEP_LIMIT),
    "save_steps": _above(0, STEP_LIMIT),
    "save_total_limit": _from(1, 1_000_000),
    "logging_steps": _above(0, STEP_LIMIT),
}
"""Ranges by setting. A setting's default is always valid, such as max_steps = -1 for a length in epochs."""
