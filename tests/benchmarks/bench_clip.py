"""A warm 33-frame 64x64 clip at 20 steps, with guidance, from request to frames. Bar: 6 s on two cores."""

import statistics
import sys
import time

from measurement import report

from engine.config.presets import load_preset
from engine.families import open_model
from engine.families.base import ModelFamily
from engine.generation.generate import Generated, generate
from engine.generation.request import GenerationRequest

BAR_S = 6.0
NUM_CLIPS = 5


def seconds(family: ModelFamily, seed: int) -> float:
    """One clip, wall clock."""
    request = GenerationRequest(prompt="a red circle moving right on a white background", num_steps=20, seed=seed)
    began = time.perf_counter()
    clips = [event.clip for event in generate(family, [request]) if isinstance(event, Generated)]
    taken = time.perf_counter() - began
    assert [clip.frames.shape for clip in clips] == [(33, 64, 64, 3)]
    return taken


def main() -> int:
    family = open_model(load_preset("models", "mini"))
    seconds(family, 0)  # the first clip also pays for memory and kernels
    times = [seconds(family, seed) for seed in range(1, NUM_CLIPS + 1)]
    worst = round(max(times), 3)
    return int(not report("warm_clip", statistics.median(times), "s", bar=BAR_S, worst=worst, clips=NUM_CLIPS))


if __name__ == "__main__":
    sys.exit(main())
