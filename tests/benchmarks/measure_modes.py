"""Direct generation, keyframe-then-inbetween and windows on `mini`: judge, rewards and seconds, one JSON line a mode.

    python tests/benchmarks/measure_modes.py --clips 16 --frames 129 --modes direct keyframes windows

Clip i of n is the same prompt and seed in every mode (held-out scenes). Not part of `make bench`: it has no bar.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np

from engine.config.presets import load_preset
from engine.families.registry import open_model
from engine.family_interface import ModelFamily
from engine.generation.context import ClipReady
from engine.generation.pipeline import generate
from engine.mini import judge, world
from engine.request import GenerationRequest, KeyframePlan, WindowPlan
from engine.seeds import seed_for
from rewards import REWARDS
from rewards.clip import Clip
from rewards.suite import RewardSuite
from tools.mini.evaluate import EVALUATION_SEED, held_out_scenes

WANTED = ("identity_lock", "t_lpips", "seam", "flow_smoothness", "structure_constancy")


def requests_for(mode: str, scenes: list[world.Scene], args: argparse.Namespace) -> list[GenerationRequest]:
    plan = KeyframePlan(
        interval=args.interval,
        flow_guidance=args.flow_guidance,
        source=args.source,
        keyframe_guidance=args.keyframe_guidance,
        drafts=args.drafts,
        choose_by=args.choose_by if args.drafts > 1 else None,
    )
    return [
        GenerationRequest(
            prompt=world.prompt(scene),
            num_frames=args.frames,
            num_steps=args.steps,
            guidance=3.0,
            mode=mode,
            keyframes=plan if mode == "keyframes" else None,
            windows=WindowPlan(length=args.window) if mode == "windows" else None,
            seed=seed_for(EVALUATION_SEED, sample=index),
        )
        for index, scene in enumerate(scenes)
    ]


def make(family: ModelFamily, requests: Iterable[GenerationRequest]) -> Iterator[tuple[Clip, float]]:
    """Each request's clip and the processor seconds that it took."""
    for request in requests:
        began = time.process_time()
        (clip,) = [event.clip for event in generate(family, [request]) if isinstance(event, ClipReady)]
        yield clip, time.process_time() - began


def measure(family: ModelFamily, mode: str, args: argparse.Namespace) -> dict[str, object]:
    scenes = held_out_scenes(args.clips)
    made = list(make(family, requests_for(mode, scenes, args)))
    judged = judge.evaluate([clip.frames for clip, _ in made], scenes)
    known = {key: 1.0 for key in WANTED if key in REWARDS and args.rewards}
    suite = RewardSuite(load_preset("rewards", "mini").model_copy(update={"weights": known})) if known else None
    reports = [suite.score(clip) for clip, _ in made] if suite else []
    values = {
        key: round(float(np.mean(found)), 4)
        for key in known
        if (found := [r.results[key].value for r in reports if r.results[key].value is not None])
    }
    rates = {name: rate["rate"] for name, rate in judged["rates"].items()}  # type: ignore[attr-defined]
    seconds = round(float(np.median([taken for _, taken in made])), 2)
    return {"mode": mode, **vars(args), "judge": judged["score"], "rates": rates, **values, "cpu_s_a_clip": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=129)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--modes", nargs="+", default=["direct", "keyframes", "windows"])
    parser.add_argument("--interval", type=int, default=8)
    parser.add_argument("--flow-guidance", type=float, default=0.0)
    parser.add_argument("--source", default="joint")
    parser.add_argument("--keyframe-guidance", type=float, default=7.0)
    parser.add_argument("--drafts", type=int, default=1)
    parser.add_argument("--choose-by", default="mini_train")
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--no-rewards", dest="rewards", action="store_false")
    args = parser.parse_args()
    family = open_model(load_preset("models", "mini"), device="cpu")
    for mode in args.modes:
        print(json.dumps(measure(family, mode, args)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
