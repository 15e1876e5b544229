"""A warm 33-frame 64x64 clip at 20 steps, with guidance, from request to frames. Bar: 6 s on two cores."""

import statistics
import sys
import time

from measurement import report

from engine.config.presets import load_preset
from engine.families.registry import open_model
from engine.family_interface import ModelFamily
from engine.generation.context import ClipReady
from engine.generation.pipeline import generate
from engine.request import GenerationRequest

BAR_S = 6.0
NUM_CLIPS = 5


def seconds(family: ModelFamily, seed: int) -> tuple[float, float]:
    """One clip: wall clock and processor time."""
    request = GenerationRequest(prompt="a red circle moving right on a white background", num_steps=20, seed=seed)
    began, cpu_began = time.perf_counter(), time.process_time()
    clips = [event.clip for event in generate(family, [request]) if isinstance(event, ClipReady)]
    taken = time.perf_counter() - began, time.process_time() - cpu_began
    assert [clip.frames.shape for clip in clips] == [(33, 64, 64, 3)]
    return taken


def main() -> int:
    family = open_model(load_preset("models", "mini"))
    seconds(family, 0)  # the first clip also pays for memory and kernels
    wall, cpu = zip(*(seconds(family, seed) for seed in range(1, NUM_CLIPS + 1)), strict=True)
    details = {"worst": round(max(wall), 3), "cpu_s": round(statistics.median(cpu), 3), "clips": NUM_CLIPS}
    return int(not report("warm_clip", statistics.median(wall), "s", bar=BAR_S, **details))


if __name__ == "__main__":
    sys.exit(main())
