"""AWM on mini with a noisy judge as its only reward, asked about each clip or about each pair of a group.

No floor: it reports each, with several training seeds. The judge plays the rater here, so its own rise is what was
trained; the prompts of the evaluation are held out, and there it has no noise. A win rate among 8 clips takes 14 looks
at each clip, in both orders; `pointwise_14` takes as many without comparing. `JUDGES`, `SEEDS` and `CLIPS` choose.
"""

import os
import sys
import time
from collections.abc import Callable

from noisy_judges import NOISE, NoisyJudge, Pairwise, Pointwise
from proving import Proof, interval, judged, mean, options
from proving_online import trained_clips

PRESET = "mini_awm"
JUDGES: dict[str, Callable[[int], NoisyJudge]] = {
    "pointwise": Pointwise,
    "pairwise": Pairwise,
    "pointwise_14": lambda seed: Pointwise(seed, repeats=14),
}


def main() -> int:
    chosen, proof = options(__doc__ or ""), Proof("pairwise")
    seeds = [int(seed) for seed in os.environ.get("SEEDS", "1" if chosen.short else "1 2 3").split()]
    clips = int(os.environ.get("CLIPS", "640"))
    asked = os.environ.get("JUDGES", "pointwise pairwise" if chosen.short else " ".join(JUDGES)).split()
    shares: dict[str, list[float]] = {}
    for seed in seeds:
        for name in asked:
            reward = JUDGES[name](seed)
            began = time.process_time()
            before, after = trained_clips(proof, PRESET, short=chosen.short, seed=seed, clips=clips, rewards=[reward])
            sides = judged(before), judged(after)
            change = interval(*sides, before)
            share = change["mean"] / (1 - mean(sides[0]))
            shares.setdefault(name, []).append(share)
            proof.say(
                "run",
                reward=name,
                seed=seed,
                clips=clips,
                noise=NOISE,
                looks=reward.looks,
                share_removed=round(share, 4),
                judge_before=round(mean(sides[0]), 4),
                judge_after=round(mean(sides[1]), 4),
                **change,
                cpu_s=round(time.process_time() - began),
            )
    for name, found in shares.items():
        proof.claim(f"{name}: the share of the judge's error removed, mean over seeds", mean(found), floor=-1)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
