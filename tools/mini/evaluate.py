"""Evaluate `mini`: the rates of the judge on held-out prompts with fixed seeds.

    python -m tools.mini.evaluate --clips 256 --frames 33 129 --out assets/mini/metrics.json --sheet sheet.png

The prompts describe scenes that no training shard contains (`world.is_held_out`). Clip i is the same for any number of
clips.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from engine.config.presets import load_model_preset
from engine.families.registry import open_model
from engine.family_interface import ModelFamily
from engine.generation.context import ClipReady
from engine.generation.pipeline import generate
from engine.mini import judge, world
from engine.request import GenerationRequest
from engine.seeds import seed_for

log = logging.getLogger(__name__)

EVALUATION_SEED = 1234


def held_out_scenes(count: int) -> list[world.Scene]:
    """Return the first `count` evaluation scenes, which are held out from training."""
    return [
        world.sample_scene(np.random.default_rng(seed_for(EVALUATION_SEED, sample=i)), held_out=True)
        for i in range(count)
    ]


def make_clips(family: ModelFamily, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
    """Return the frames `uint8[T,H,W,3]` of each request, in order."""
    made = {e.request.id: e.clip.frames for e in generate(family, requests) if isinstance(e, ClipReady)}
    return [made[request.id] for request in requests]


def evaluate(family: ModelFamily, count: int, num_frames: int, num_steps: int, guidance: float) -> dict[str, object]:
    """Return the rates of the judge with intervals, and seconds per clip, over `count` held-out prompts."""
    scenes = held_out_scenes(count)
    requests = [
        GenerationRequest(
            prompt=world.prompt(scene),
            num_frames=num_frames,
            num_steps=num_steps,
            guidance=guidance,
            seed=seed_for(EVALUATION_SEED, sample=i),
        )
        for i, scene in enumerate(scenes)
    ]
    began = time.monotonic()
    clips = make_clips(family, requests)
    seconds = (time.monotonic() - began) / count
    settings = {"clips": count, "frames": num_frames, "steps": num_steps, "guidance": guidance}
    return settings | {"seconds_a_clip": round(seconds, 3)} | judge.evaluate(clips, scenes)


def contact_sheet(family: ModelFamily, count: int, num_frames: int, guidance: float) -> np.ndarray:
    """Return a picture `uint8[H,W,3]` with a row of nine frames for each of the first held-out prompts."""
    requests = [
        GenerationRequest(prompt=world.prompt(s), num_frames=num_frames, guidance=guidance, seed=i)
        for i, s in enumerate(held_out_scenes(count))
    ]
    rows = []
    for request, frames in zip(requests, make_clips(family, requests), strict=True):
        log.info("%s", request.prompt)
        rows.append(np.concatenate(list(frames[np.linspace(0, num_frames - 1, 9).round().astype(int)]), axis=1))
    return np.concatenate(rows, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--frames", type=int, nargs="+", default=[33, 129])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--source", help="folder of weights (default: assets/mini)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--sheet", type=Path, help="PNG of the first 16 clips")
    args = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    preset = load_model_preset("mini")
    family = open_model(preset.model_copy(update={"source": args.source}) if args.source else preset)
    if args.sheet:
        iio.imwrite(args.sheet, contact_sheet(family, 16, args.frames[0], args.guidance))
    figures = [evaluate(family, args.clips, n, args.steps, args.guidance) for n in args.frames if args.clips]
    for row in figures:
        log.info("%s", json.dumps(row))
    if args.out:
        args.out.write_text(json.dumps({"seed": EVALUATION_SEED, "held_out_prompts": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
