"""Hackability of each reward: `mini` trained by AWM on one reward alone, and on each mix for it.

On held-out prompts: what was gained in that reward, and what the judge gained or lost, with intervals over prompts. No
floor: it claims nothing. `TRAINED` and `SEEDS` change what is measured, such as `TRAINED="aesthetic mini" SEEDS="1 2"`.
Rewards for long or windowed clips do not apply to 17 frames and are left out.
"""

import os
import sys
import time
from typing import Any

from proving import Proof, held_out, interval, judged, make, mean, open_mini, options, requests
from proving_online import SHAPE, SHORT, train_and_make, values

from engine.config.presets import load_preset
from engine.config.prompts import read_prompts
from rewards import as_reward_funcs, mix_reward_func
from rewards.registry import REWARDS

MIXES = ("mini", "mini_train")
LONG = ("seam", "novelty_after_k")
"""Need windows, or more than 32 frames."""
SMALL = {"max_steps": 40, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "logging_steps": 20}
"""40 updates on 20 rollouts of 16 clips, a quarter of the preset's clips an update."""


def reward_of(name: str) -> Any:
    """A mix with its gates, or one reward without those of a mix, by the calibration and the networks of `mini`."""
    if name in MIXES:
        return mix_reward_func(load_preset("rewards", name))
    return as_reward_funcs(load_preset("rewards", "mini").model_copy(update={"weights": {name: 1.0}}))[0]


def main() -> int:
    chosen, proof = options(__doc__ or ""), Proof("hackability")
    every = " ".join([*MIXES, *(key for key in REWARDS if key not in LONG)])
    names = os.environ.get("TRAINED", "aesthetic" if chosen.short else every).split()
    seeds = [int(seed) for seed in os.environ.get("SEEDS", str(chosen.seed)).split()]
    wanted = requests(held_out(4 if chosen.short else 32), 2, **SHAPE)
    before, _ = make(open_mini(), wanted)
    for name, seed in [(name, seed) for seed in seeds for name in names]:
        began, reward = time.process_time(), reward_of(name)
        changes = {**SMALL, **(SHORT if chosen.short else {}), "seed": seed}
        _, after = train_and_make(open_mini(), "mini_awm", [reward], read_prompts("mini"), changes, wanted)
        scores, judges = (values(reward, before), values(reward, after)), (judged(before), judged(after))
        gained, lost = interval(*scores, before), interval(*judges, before)
        more = {"reward_before": round(mean(scores[0]), 4), "judge_before": round(mean(judges[0]), 4)}
        spent = round(time.process_time() - began)
        proof.say("run", trained=name, seed=seed, reward=gained, judge=lost, **more, clips=len(after), cpu_s=spent)
        proof.claim(f"{name}, seed {seed}: change of the judge", lost["mean"], floor=-1, **lost)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
