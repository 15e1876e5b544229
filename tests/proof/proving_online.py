"""The proof that GRPO and NFT have in common."""

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from honest_rewards import moves_as_asked, shows_colour, shows_prompt
from proving import Proof, held_out, interval, judged, make, mean, open_mini, requests, rows_of

from engine.config.presets import read_prompts
from engine.mini import world
from engine.mini.prompts import parse

SHAPE: dict[str, Any] = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "num_steps": 8, "guidance": 1.0}
REWARDS = [shows_prompt(), shows_colour, moves_as_asked]


def prove_online(
    name: str,
    trainer_class: Any,
    config: Callable[..., Any],
    *,
    updates: int,
    learning_rate: float,
    short: bool,
    seed: int,
) -> int:
    """Train on three rewards, then compare rewards and judge on held-out prompts with the same noise."""
    proof, family = Proof(name), open_mini()
    with tempfile.TemporaryDirectory() as folder:
        args = config(
            output_dir=folder,
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=1,
            lr_scheduler_type="constant",
            learning_rate=learning_rate,
            lora_rank=32,
            max_steps=updates,
            num_generations=8,
            per_device_train_batch_size=16,
            gradient_accumulation_steps=1 if short else 4,
            advantage_scale="group",
            max_grad_norm=1.0,
            ema_decay=0.0 if short else 0.8,
            seed=seed,
            **SHAPE,
        )
        prompts = [prompt for prompt in read_prompts("mini") if moves(prompt)]
        trainer = trainer_class(model=family, reward_funcs=REWARDS, args=args, train_dataset=prompts)
        wanted = requests([p for p in held_out(64) if moves(p)][: 8 if short else 32], 1 if short else 4, **SHAPE)
        before, _ = make(family, wanted)
        judged_before = judged(before)
        proof.say("before", judge=round(mean(judged_before), 4), clips=len(before), updates=updates)
        trainer.train()
    rows_of(
        trainer,
        proof,
        "reward",
        *(f"rewards/{reward.__name__}/mean" for reward in REWARDS),
        "time/rollout",
        "time/score",
        "loss",
    )
    weights = trainer.copies.get("average")
    with weights.in_place() if weights else nullcontext():
        after, _ = make(family, wanted)
    for reward in REWARDS:
        sides = [reward([clip.prompt for clip in clips], clips) for clips in (before, after)]
        change = interval(*sides, before)
        proof.claim(f"{reward.__name__} rises on held-out prompts", change["low"], floor=-1 if short else 0, **change)
    change = interval(judged_before, judged(after), before)
    gained = change["mean"] / (1 - mean(judged_before))
    proof.claim(
        "the held-out judge rises on held-out prompts",
        change["low"],
        floor=-1 if short else 0,
        judge_before=round(mean(judged_before), 4),
        judge_after=round(mean(judged(after)), 4),
        share_of_error_removed=round(gained, 4),
        goal=0.3333,
        **change,
    )
    return proof.ended()


def moves(prompt: str) -> bool:
    """Both rewards have something to say of the prompt."""
    asked = parse(prompt)
    return asked.motion in world.DIRECTIONS and not asked.pan
