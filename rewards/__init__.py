"""Rewards: what a clip is worth, and why. Nothing here imports torch before a network is really needed.

total, parts = comprehensive_reward("a red circle moving left", frames)      # frames: uint8[T,H,W,3]
report = RewardSuite(read_mix(path)).score(Clip(frames=frames, fps=8, prompt=prompt))
reward_funcs = as_reward_funcs(mix)                                          # TRL's protocol
"""

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rewards.base import RewardResult, RewardSpec
from rewards.clip import Clip
from rewards.errors import DailiesError, RewardError, RewardUnavailable
from rewards.mix import Mix, RewardReport, read_mix

if TYPE_CHECKING:
    from rewards.suite import RewardSuite

__all__ = [
    "REWARDS",
    "Clip",
    "DailiesError",
    "Mix",
    "RewardError",
    "RewardReport",
    "RewardResult",
    "RewardSpec",
    "RewardUnavailable",
    "as_reward_funcs",
    "comprehensive_reward",
    "load_reward",
    "read_mix",
    "reward_spec",
]

REWARDS: dict[str, str] = {
    "flow_smoothness": "rewards.flow_smoothness",
    "structure_constancy": "rewards.structure_constancy",
    "seam": "rewards.seam",
    "loop_break": "rewards.loop_break",
    "aesthetic": "rewards.aesthetic",
    "framing": "rewards.framing",
    "novelty_after_k": "rewards.novelty_after_k",
}
DEFAULT_FPS = 8.0

RewardFunc = Callable[..., list[float | None]]


def load_reward(key: str) -> ModuleType:
    """The module of a reward. Raises RewardError for an unknown key."""
    if key not in REWARDS:
        near = difflib.get_close_matches(key, REWARDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(REWARDS)}."
        raise RewardError(f"There is no reward {key!r}. {hint}")
    return importlib.import_module(REWARDS[key])


def reward_spec(key: str) -> RewardSpec:
    """What a reward measures, its range, source and licence."""
    spec: RewardSpec = load_reward(key).SPEC
    return spec


def comprehensive_reward(
    prompt: str,
    frames: np.ndarray,
    weights: Mapping[str, float] | None = None,
    *,
    fps: float = DEFAULT_FPS,
) -> tuple[float | None, dict[str, float | None]]:
    """Score `frames` (`uint8[T,H,W,3]` RGB) for `prompt` with every reward at weight 1, or with `weights`.

    Gives the total in 0..1 (None when no reward applies) and each reward's value (None where it does not apply). `fps`
    matters to what counts as motion. Raises RewardError for other frames, unknown rewards or bad weights.
    """
    from rewards.suite import RewardSuite

    chosen = dict.fromkeys(REWARDS, 1.0) if weights is None else dict(weights)
    mix = Mix(key="comprehensive", title="All rewards", weights=_checked(chosen))
    report = RewardSuite(mix).score(Clip(frames=frames, fps=fps, prompt=prompt))
    return report.total, report.parts


def as_reward_funcs(mix: Mix, *, fps: float = DEFAULT_FPS) -> list[RewardFunc]:
    """One function a reward of the mix, as TRL wants it: `f(prompts, completions, **kwargs) -> list[float | None]`.

    A completion is a `Clip` or frames `uint8[T,H,W,3]`; the column `fps` may give each one's frame rate. Use the mix's
    `weights` as TRL's `reward_weights`. The gates of the mix are in each reward only where the reward has them itself;
    for the gated total use `mix_reward_func`. Each function's `__name__` is the reward's key.
    """
    return [_reward_func(mix, key, fps) for key, weight in mix.weights.items() if weight > 0]


def mix_reward_func(mix: Mix, *, fps: float = DEFAULT_FPS) -> RewardFunc:
    """The mix's total, gates included, as one function in TRL's protocol."""
    return _named(mix.key, mix, fps, lambda report: report.total)


def _reward_func(mix: Mix, key: str, fps: float) -> RewardFunc:
    alone = mix.model_copy(update={"key": key, "weights": {key: 1.0}})
    return _named(key, alone, fps, lambda report: report.parts[key])


def _named(name: str, mix: Mix, default_fps: float, pick: Callable[[RewardReport], float | None]) -> RewardFunc:
    suite: RewardSuite | None = None

    def reward(prompts: Sequence[str], completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
        nonlocal suite
        if suite is None:
            from rewards.suite import RewardSuite

            suite = RewardSuite(mix)
        rates = kwargs.get("fps") or [default_fps] * len(completions)
        triples = zip(prompts, completions, rates, strict=True)
        clips = [_as_clip(prompt, completion, rate) for prompt, completion, rate in triples]
        return [pick(report) for report in suite.score_group(clips)]

    reward.__name__ = name
    return reward


def _as_clip(prompt: str, completion: Any, fps: float) -> Clip:
    return completion if isinstance(completion, Clip) else Clip(frames=completion, fps=fps, prompt=prompt)


def _checked(weights: dict[str, float]) -> dict[str, float]:
    for key, weight in weights.items():
        load_reward(key)
        if not (np.isfinite(weight) and weight >= 0):
            raise RewardError(f"The weight of {key!r} must be 0 or more, but got {weight}.")
    if not any(weights.values()):
        raise RewardError("At least one reward needs a weight above 0.")
    return weights
