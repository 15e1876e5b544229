"""The proof that GRPO and NFT have in common: the shipped presets' settings, on rewards that mean the prompt.

Trained is a mix of the product's clip_vid and two direct rewards (`honest_rewards`), in TRL's protocol as a user would
add them: none of the twelve reads which way things move. The judge, the other rewards and the prompts of the
evaluation are in no training.
"""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from honest_rewards import moves_as_asked, shows_colour, shows_prompt
from proving import Proof, held_out, interval, judged, make, mean, open_mini, requests, rows_of

from engine.config.algorithms import ALGORITHMS
from engine.config.presets import load_train_preset
from engine.config.prompts import read_prompts
from engine.mini import world
from engine.mini.prompts import parse
from engine.training.build import build_config
from rewards.import_object import import_object

SHAPE: dict[str, Any] = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "num_steps": 8, "guidance": 1.0}
REWARDS = [shows_prompt(), shows_colour, moves_as_asked]
COURSE = ("reward", "loss", "kl", "ratio/spread", "clip_ratio", "time/rollout", "time/decode", "time/score")
SHORT = {
    "max_steps": 2,
    "num_generations": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "ema_decay": 0.0,
}


def prove_online(name: str, preset_key: str, *, short: bool, seed: int) -> int:
    """Train on three rewards, then compare their mean, each of them and the judge on held-out prompts, noise alike."""
    proof = Proof(name)
    before, after = trained_clips(proof, preset_key, short=short, seed=seed)
    compare(proof, before, after, floor=-1 if short else 0)
    return proof.ended()


def trained_clips(
    proof: Proof,
    preset_key: str,
    *,
    short: bool,
    seed: int,
    clips: int | None = None,
    rewards: Sequence[Any] = tuple(REWARDS),
) -> tuple[list[Any], list[Any]]:
    """Clips of held-out prompts before and after training by a preset, on `clips` of its own (None: as it says)."""
    family = open_mini()
    wanted = requests([p for p in held_out(64) if moves(p)][: 8 if short else 32], 1 if short else 4, **SHAPE)
    before, _ = make(family, wanted)
    proof.say("before", judge=round(mean(judged(before)), 4), clips=len(before))
    changes = {"seed": seed, **({} if clips is None else {"max_steps": updates_for(clips, preset_key)})}
    prompts = [prompt for prompt in read_prompts("mini") if moves(prompt)]
    changes |= SHORT if short else {}
    trainer, after = train_and_make(family, preset_key, list(rewards), prompts, changes, wanted)
    rows_of(trainer, proof, *COURSE, "time/update", *(f"rewards/{reward.__name__}/mean" for reward in rewards))
    return before, after


def train_and_make(
    family: Any, preset_key: str, rewards: list[Any], prompts: list[str], changes: dict[str, Any], wanted: list[Any]
) -> tuple[Any, list[Any]]:
    """The trainer after a preset's training on these rewards, and the clips that its exported weights make."""
    preset = load_train_preset(preset_key)
    algorithm = ALGORITHMS[preset.algorithm]
    settings = {**preset.settings, "save_strategy": "no", **SHAPE, **changes}
    with tempfile.TemporaryDirectory() as folder:
        args = build_config(import_object(algorithm.settings), settings, Path(folder))
        trainer = import_object(algorithm.trainer)(model=family, reward_funcs=rewards, args=args, train_dataset=prompts)
        trainer.train()
    weights = trainer.copies.get("average")
    with weights.applied() if weights else nullcontext():
        return trainer, make(family, wanted)[0]


def updates_for(clips: int, preset_key: str) -> int:
    """How many updates of an online preset take this many new clips."""
    settings = load_train_preset(preset_key).settings
    an_update = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    return round(clips * settings["num_iterations"] / an_update)


def compare(proof: Proof, before: list[Any], after: list[Any], *, floor: float) -> None:
    scores = [[values(reward, clips) for reward in REWARDS] for clips in (before, after)]
    mixes = [[mean(of_clip) for of_clip in zip(*side, strict=True)] for side in scores]
    mixed = interval(*mixes, before)
    proof.claim("the trained mix rises on held-out prompts", mixed["low"], floor=floor, above=True, **mixed)
    for reward, first, second in zip(REWARDS, *scores, strict=True):
        proof.say("measure", name=reward.__name__, role="trained", **interval(first, second, before))
    sides = judged(before), judged(after)
    change = interval(*sides, before)
    proof.claim(
        "the held-out judge rises on held-out prompts",
        change["low"],
        floor=floor,
        above=True,
        judge_before=round(mean(sides[0]), 4),
        judge_after=round(mean(sides[1]), 4),
        share_of_error_removed=round(change["mean"] / (1 - mean(sides[0])), 4),
        goal=0.3333,
        **change,
    )


def values(reward: Any, clips: list[Any]) -> list[float | None]:
    found: list[float | None] = reward([clip.prompt for clip in clips], clips)
    return found


def moves(prompt: str) -> bool:
    """Both direct rewards have something to say of the prompt."""
    asked = parse(prompt)
    return asked.motion in world.DIRECTIONS and not asked.pan
