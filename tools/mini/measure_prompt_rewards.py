"""How much `clip_vid` and `caption_consistency` lose when the prompt is not the clip's, on `mini`'s own world.

    python -m tools.mini.measure_prompt_rewards --rendered 60 --generated 24

Rendered clips are of scenes that no training saw. Generated clips are `mini`'s, of such scenes too, and only those of
which the judge says that colour, shape and count are right. Each is scored with its prompt, and with prompts in which
one attribute of one subject, or the background, is another. Writes `assets/reward_nets/prompt_rewards.json`.
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from engine.config.presets import load_model_preset
from engine.families.registry import open_model
from engine.generation.pipeline import ClipReady, generate
from engine.mini import judge, world
from engine.request import GenerationRequest
from engine.seeds import seed_for
from rewards import Clip, Mix, load_reward
from rewards.suite import RewardSuite
from tools.mini import stills
from tools.mini.evaluate import EVALUATION_SEED, held_out_scenes

log = logging.getLogger(__name__)

REWARDS = ("clip_vid", "caption_consistency")
MIX = Mix(
    key="prompt",
    title="What the prompt says",
    weights=dict.fromkeys(REWARDS, 1.0),
    calibration="mini",
    backends={"clip": "mini", "captions": "mini"},
)
SWAPS: dict[str, Callable[[world.Scene, np.random.Generator], world.Scene]] = {
    "colour": stills.swap_colour,
    "shape": stills.swap_shape,
    "background": stills.swap_background,
    "count": stills.swap_count,
}
NUM_FRAMES, AT_ONCE, JUDGED = 17, 8, ("colour", "shape", "count")

Shown = tuple[world.Scene, np.ndarray]
"""A scene, and frames `uint8[T,64,64,3]` that show it."""


def rendered(count: int) -> Iterator[Shown]:
    """Clips drawn by the world."""
    for scene in held_out_scenes(count):
        yield scene, world.render(scene, NUM_FRAMES)


def generated(count: int) -> Iterator[Shown]:
    """Clips made by `mini`, of which the judge says that they show what was asked."""
    scenes = held_out_scenes(count)
    requests = [
        GenerationRequest(
            prompt=world.prompt(scene), num_frames=NUM_FRAMES, num_steps=20, seed=seed_for(EVALUATION_SEED, sample=i)
        )
        for i, scene in enumerate(scenes)
    ]
    by_id = {request.id: scene for request, scene in zip(requests, scenes, strict=True)}
    for event in generate(open_model(load_model_preset("mini")), requests):
        if isinstance(event, ClipReady):
            scene, verdict = by_id[event.request.id], judge.judge(event.clip.frames, by_id[event.request.id])
            if all(getattr(verdict, name) for name in JUDGED):
                yield scene, event.clip.frames


def measure(shown: Sequence[Shown], seed: int = 0) -> dict[str, object]:
    """For each reward: the mean with the right prompt; for each swap how much is lost, and how often anything is."""
    rng = np.random.default_rng([seed, 41])
    losses: dict[str, dict[str, list[float]]] = {reward: {swap: [] for swap in SWAPS} for reward in REWARDS}
    right: dict[str, list[float]] = {reward: [] for reward in REWARDS}
    for scene, frames in shown:
        prompts = {"right": world.prompt(scene)} | {s: world.prompt(_other(scene, s, rng)) for s in SWAPS}
        clips = [Clip(frames=frames, fps=world.FPS, prompt=prompt) for prompt in prompts.values()]
        for reward in REWARDS:
            values = dict(zip(prompts, _values(reward, clips), strict=True))
            right[reward].append(values["right"])
            for swap in SWAPS:
                losses[reward][swap].append(values["right"] - values[swap])
    return {
        "clips": len(shown),
        "with_right_prompt": {reward: _rounded(np.mean(values)) for reward, values in right.items()},
        "lost": {r: {s: _rounded(np.mean(lost)) for s, lost in by.items()} for r, by in losses.items()},
        "lower_in": {
            r: {s: _rounded(np.mean(np.array(lost) > 0)) for s, lost in by.items()} for r, by in losses.items()
        },
    }


def _values(reward: str, clips: Sequence[Clip]) -> list[float]:
    """The reward alone, without what a whole report needs."""
    suite, module = RewardSuite(MIX), load_reward(reward)
    group = [suite.features(clip) for clip in clips]
    module.prepare(group)
    return [module.score(features).value or 0.0 for features in group]


def _other(scene: world.Scene, swap: str, rng: np.random.Generator) -> world.Scene:
    changed = scene
    while stills.look_of(changed) == stills.look_of(scene):
        changed = SWAPS[swap](scene, rng)
    return changed


def _rounded(value: np.floating) -> float:
    return round(float(value), 3)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rendered", type=int, default=60)
    parser.add_argument("--generated", type=int, default=24, help="how many to generate; the judge passes a part")
    parser.add_argument("--out", type=Path, default=Path("assets/reward_nets/prompt_rewards.json"))
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(message)s")
    known = json.loads(chosen.out.read_text(encoding="utf8")) if chosen.out.exists() else {}
    for name, draw in (("rendered", rendered), ("generated", generated)):
        if count := getattr(chosen, name):
            known[name] = measure(list(draw(count)))
            log.info("%s: %s", name, json.dumps(known[name]))
    chosen.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
