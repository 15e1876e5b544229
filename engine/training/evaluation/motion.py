"""How fast clips move, and whether a reward is paid for slowness: a static clip maximises every stability reward."""

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
    """How fast the clip moves on average, px of 256 a second, whatever its prompt says.

    Not the rewards' motion gate, which says 1 for whatever moves at all and so sees a clip slow down only at the end.
    """
    features = ClipFeatures(clip, flow=open_flow("dis"), calibration=read_calibration("real"), backends={})
    return float(features.speed.mean()) if len(features.speed) else 0.0


def reward_speed_correlation(speeds: Sequence[float], earned: Sequence[float], groups: Sequence[str]) -> Interval:
    """The correlation of speed and what was earned among the clips of one prompt, -1..1, averaged over prompts.

    `groups` names the prompt of each clip; taken within a prompt, since prompts ask for different speeds. A clip that
    earned NaN is left out, and so is a prompt whose clips are all alike in speed or in what they earned; `of` counts
    those that are left.
    """
    known: dict[str, list[tuple[float, float]]] = {}
    for speed, one, group in zip(speeds, earned, groups, strict=True):
        if np.isfinite(one):
            known.setdefault(group, []).append((speed, one))
    several = {group: np.array(pairs) for group, pairs in known.items() if len(pairs) > 1}
    varied = {group: pairs for group, pairs in several.items() if (pairs.std(axis=0) > MIN_STD).all()}
    return mean_interval([float(np.corrcoef(pairs.T)[0, 1]) for pairs in varied.values()], list(varied))
