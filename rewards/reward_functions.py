"""The rewards as plain functions: of one clip, and in TRL's protocol."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from rewards.calibration import read_calibration
from rewards.clip import Clip
from rewards.differentiable import pixel_reward
from rewards.errors import RewardError
from rewards.mix import Mix, RewardReport
from rewards.registry import REWARDS, load_reward
from rewards.suite import RewardSuite

DEFAULT_FPS = 8.0
JUDGE_GAUGES = ("first_chosen", "disagreement", "unreadable")
"""Details of a pairwise judge that are logged as metrics, see `rewards.external.vlm.client.win_rate`."""

RewardFunc = Callable[..., list[float | None]]


def comprehensive_reward(
    prompt: str,
    frames: np.ndarray,
    weights: Mapping[str, float] | None = None,
    *,
    fps: float = DEFAULT_FPS,
) -> tuple[float | None, dict[str, float | None]]:
    """Score `frames` (`uint8[T,H,W,3]` RGB) for `prompt` with every reward at weight 1, or with `weights`.

    Return the total in 0..1 (None when no reward applies) and each reward's value (None where it does not apply).
    Speeds are measured a second, so they depend on `fps`. Raises RewardError for other frames, unknown rewards or bad
    weights.
    """
    chosen = dict.fromkeys(REWARDS, 1.0) if weights is None else dict(weights)
    mix = Mix(key="comprehensive", title="All rewards", weights=_checked(chosen))
    report = RewardSuite(mix).score(Clip(frames=frames, fps=fps, prompt=prompt))
    return report.total, report.parts


def as_reward_funcs(mix: Mix, *, fps: float = DEFAULT_FPS) -> list[RewardFunc]:
    """Return one function a reward of the mix, in TRL's protocol.

    The protocol is `f(prompts, completions, **kwargs) -> list[float | None]`.

    A completion is a `Clip` or frames `uint8[T,H,W,3]`; the column `fps` may give the frame rate of each. Use the mix's
    `weights` as TRL's `reward_weights`. The functions share their results: when TRL calls them one after the other for
    the same batch, flow and networks are computed once. A value contains the reward's own gates; the gates of the mix
    are only in the total, see `mix_reward_func`. Each function's `__name__` is the reward's key. `of_pixels` is the
    reward as a function that can be differentiated (`rewards.differentiable.PixelReward`), None where it cannot.
    """
    scores, calibration = _SharedScores(mix, fps), read_calibration(mix.calibration)
    functions = [_named(key, scores, partial(_part, key)) for key, weight in mix.weights.items() if weight > 0]
    for function in functions:
        function.of_pixels = pixel_reward(mix, function.__name__, calibration)  # type: ignore[attr-defined]
    return functions


def mix_reward_func(mix: Mix, *, fps: float = DEFAULT_FPS) -> RewardFunc:
    """Return the mix's total, gates included, as one function in TRL's protocol."""
    return _named(mix.key, _SharedScores(mix, fps), lambda report: report.total)


class _SharedScores:
    """The reports of the last batch, shared by the functions that are called with the same batch."""

    def __init__(self, mix: Mix, fps: float) -> None:
        self._mix = mix
        self._fps = fps
        self._suite: RewardSuite | None = None
        self._batch: list[tuple[Any, ...]] = []
        self._reports: list[RewardReport] = []

    @property
    def compares(self) -> bool:
        """True when a value depends on the other clips of the batch, so that a batch must hold whole groups."""
        return any(getattr(load_reward(key), "compares", False) for key, weight in self._mix.weights.items() if weight)

    def reports(self, prompts: Sequence[str], completions: Sequence[Any], fps: Sequence[float] | None) -> Any:
        rates = [self._fps] * len(completions) if fps is None or not len(fps) else fps
        clips = [_as_clip(*triple) for triple in zip(prompts, completions, rates, strict=True)]
        batch = [_content(clip) for clip in clips]
        if batch != self._batch:
            self._suite = self._suite or RewardSuite(self._mix)
            self._reports = self._suite.score_many(clips)
            self._batch = batch
        return self._reports

    def why_missing(self, name: str) -> tuple[str, str] | None:
        """Return a reward of the last batch whose network is missing, and the reason; None without one.

        `name` is the reward, or the mix, of which it is the first such one that has a weight.
        """
        names = [name] if name in self._mix.weights else [key for key, weight in self._mix.weights.items() if weight]
        found = [(key, report.missing[key]) for key in names for report in self._reports if key in report.missing]
        return found[0] if found else None


def _named(name: str, scores: _SharedScores, pick: Callable[[RewardReport], float | None]) -> RewardFunc:
    def reward(prompts: Sequence[str], completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
        reports = scores.reports(prompts, completions, kwargs.get("fps"))
        if "log_metric" in kwargs:
            _log_gauges(reports, kwargs["log_metric"])
        return [pick(report) for report in reports]

    reward.__name__ = name
    reward.compares_clips = scores.compares  # type: ignore[attr-defined]
    reward.splittable = True  # type: ignore[attr-defined]
    reward.why_missing = partial(scores.why_missing, name)  # type: ignore[attr-defined]
    return reward


def _log_gauges(reports: Sequence[RewardReport], log_metric: Callable[[str, float], None]) -> None:
    """Log the gauges of judges, such as their preference for a position, as means over the batch."""
    for key in dict.fromkeys(key for report in reports for key in report.results):
        for gauge in JUDGE_GAUGES:
            details = (report.results[key].details for report in reports if key in report.results)
            known = [found[gauge] for found in details if gauge in found]
            if known:
                log_metric(f"judge/{key}/{gauge}", sum(known) / len(known))


def _part(key: str, report: RewardReport) -> float | None:
    return report.parts[key]


def _as_clip(prompt: str, completion: Any, fps: float) -> Clip:
    return completion if isinstance(completion, Clip) else Clip(frames=completion, fps=fps, prompt=prompt)


def _content(clip: Clip) -> tuple[Any, ...]:
    """Return a comparable key of all inputs of a score; 9 ms for 12 MB.

    It holds a digest of the frames, because a caller may write the next batch into the same arrays.
    """
    pixels = [clip.frames] if clip.first_picture is None else [clip.frames, clip.first_picture]
    digests = [hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).digest() for array in pixels]
    return clip.prompt, float(clip.fps), tuple(clip.seams), clip.frames.shape, *digests


def _checked(weights: dict[str, float]) -> dict[str, float]:
    for key, weight in weights.items():
        load_reward(key)
        if not (np.isfinite(weight) and weight >= 0):
            raise RewardError(f"The weight of {key!r} must be 0 or more, but got {weight}.")
    if not any(weights.values()):
        raise RewardError("At least one reward needs a weight above 0.")
    return weights
