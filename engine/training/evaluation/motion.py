"""Speed of clips, and its correlation with reward: a static clip maximises every stability reward."""

from collections.abc import Sequence

import numpy as np

from engine.runs.results import Interval
from engine.training.evaluation.intervals import mean_interval
from rewards.calibration import read_calibration
from rewards.clip import Clip
from rewards.features import ClipFeatures
from rewards.vision.flow import open_flow

MIN_STD = 1e-6


def motion_of(clip: Clip) -> float:
    """Return the clip's mean speed in px of 256 a second, independent of its prompt.

    The rewards' motion gate is unsuitable: it is 1 for any visible motion, so it reacts late to clips that slow down.
    """
    features = ClipFeatures(clip, flow=open_flow("dis"), calibration=read_calibration("real"), backends={})
    return float(features.speed.mean()) if len(features.speed) else 0.0


def reward_speed_correlation(speeds: Sequence[float], earned: Sequence[float], groups: Sequence[str]) -> Interval:
    """Return the within-prompt correlation of speed and reward, -1..1, averaged over prompts.

    `groups` names each clip's prompt; prompts require different speeds, so clips are only compared within one. Clips
    with a NaN reward are ignored, and so are prompts whose clips all have the same speed or reward; `of` counts the
    remaining prompts.
    """
    pairs_by_group: dict[str, list[tuple[float, float]]] = {}
    for speed, reward, group in zip(speeds, earned, groups, strict=True):
        if np.isfinite(reward):
            pairs_by_group.setdefault(group, []).append((speed, reward))
    several = {group: np.array(pairs) for group, pairs in pairs_by_group.items() if len(pairs) > 1}
    varied = {group: pairs for group, pairs in several.items() if (pairs.std(axis=0) > MIN_STD).all()}
    return mean_interval([float(np.corrcoef(pairs.T)[0, 1]) for pairs in varied.values()], list(varied))
