"""Scoring one clip of 64 frames at 256x256 with every reward that can be had here: shared, naive, and eight at once.

Naive is what separate scripts would do: each reward computes its own flow and loads its own network at each call. Bars,
all in the same run: shared at most a quarter of naive; at most 1.15 times the sum of the pieces that it is made of; a
batch of 8 clips at most 7 times one. Measured twice: as the mix `mini` computes (embedded networks, all
twelve, on a clip of their world) and as the mix `seed` does (real networks, where DAILIES_WEIGHTS or ../shared/weights
has them, on filmed frames; the lines say which rewards).
"""

import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from measurement import report

from engine.config.presets import load_preset
from rewards import REWARDS, Mix
from rewards.clip import Clip
from rewards.matrix.reference_clips import read_reference
from rewards.mix import RewardReport
from rewards.networks.cache import close_networks
from rewards.suite import RewardSuite

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights"
NUM_FRAMES, NUM_RUNS, GROUP = 64, 3, 8
SHARED_BAR, PIECES_BAR, GROUP_BAR = 0.25, 1.15, 7.0


def talking_man() -> Clip:
    """64 frames, 256x256, in two windows."""
    clip = read_reference("real")["carphone"]
    return replace(clip, frames=np.ascontiguousarray(clip.frames[:NUM_FRAMES]), seams=(NUM_FRAMES // 2,))


def star_circling() -> Clip:
    """A clip of the embedded model's world, whose prompt the embedded networks understand, four times enlarged."""
    clip = read_reference("mini")["mini_0"]
    frames = clip.frames[:NUM_FRAMES].repeat(4, axis=1).repeat(4, axis=2)
    return replace(clip, frames=np.ascontiguousarray(frames), seams=(NUM_FRAMES // 2,))


def takes(clip: Clip) -> list[Clip]:
    """Eight clips of the same cost and other content: the clip begun elsewhere, every second one mirrored."""
    rolled = [np.roll(clip.frames, 8 * number, axis=0) for number in range(GROUP)]
    return [
        replace(clip, frames=np.ascontiguousarray(frames[:, :, :: 1 - 2 * (number % 2)]))
        for number, frames in enumerate(rolled)
    ]


def all_of(preset: str, clip: Clip) -> Mix:
    """Every reward that has a value for the clip, at weight 1, computed as the preset computes it."""
    mix = load_preset("rewards", preset)
    every = mix.model_copy(update={"weights": dict.fromkeys(REWARDS, 1.0)})
    parts = RewardSuite(every).score(clip).parts
    return mix.model_copy(update={"weights": {key: 1.0 for key, value in parts.items() if value is not None}})


def alone(mix: Mix, key: str) -> RewardSuite:
    return RewardSuite(mix.model_copy(update={"weights": {key: 1.0}}))


def naive_seconds(mix: Mix, clip: Clip) -> float:
    began = time.perf_counter()
    for key in mix.weights:
        close_networks()
        alone(mix, key).score(clip)
    return time.perf_counter() - began


def shared_seconds(suite: RewardSuite, clip: Clip) -> tuple[float, RewardReport]:
    began = time.perf_counter()
    scored = suite.score(clip)
    return time.perf_counter() - began, scored


def group_seconds(suite: RewardSuite, clips: list[Clip]) -> float:
    began = time.perf_counter()
    suite.score_group(clips)
    return time.perf_counter() - began


def measure(preset: str, clip: Clip) -> bool:
    mix = all_of(preset, clip)
    suite = RewardSuite(mix)
    shared, naive, pieces = [], [], []
    for _ in range(NUM_RUNS):
        naive.append(naive_seconds(mix, clip))
        suite.score(clip)  # the networks are loaded again
        seconds, scored = shared_seconds(suite, clip)
        shared.append(seconds)
        pieces.append(seconds / sum(scored.seconds.values()))
    one = statistics.median(shared)
    group = group_seconds(suite, takes(clip))
    backends = {key: result.backend for key, result in scored.results.items()}
    facts = {"mix": preset, "rewards": len(mix.weights), "seconds": round(one, 3)}
    oks = [
        report(
            "rewards_shared", one / statistics.median(naive), "of naive", bar=SHARED_BAR, **facts, backends=backends
        ),
        report(
            "rewards_pieces", statistics.median(pieces), "of the sum", bar=PIECES_BAR, **facts, pieces=slowest(scored)
        ),
        report("rewards_group_of_8", group / one, "clips", bar=GROUP_BAR, **facts),
    ]
    return all(oks)


def slowest(scored: RewardReport) -> dict[str, float]:
    """The six pieces that took longest, in seconds."""
    ordered = sorted(scored.seconds.items(), key=lambda item: -item[1])
    return {name: round(seconds, 3) for name, seconds in ordered[:6]}


def main() -> int:
    if WEIGHTS.is_dir():
        os.environ.setdefault("DAILIES_WEIGHTS", str(WEIGHTS))
    return int(not all([measure("mini", star_circling()), measure("seed", talking_man())]))


if __name__ == "__main__":
    sys.exit(main())
