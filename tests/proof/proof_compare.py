"""Online presets on mini after the same number of clips, each with several training seeds, told side by side.

No floor: it claims nothing, and says how much of the judge's error each removed. `COMPARED`, `SEEDS` and `CLIPS` change
what is compared, such as `COMPARED="mini_awm mini_nft" SEEDS="1 2" CLIPS=640`.
"""

import os
import sys
import time

from proving import Proof, interval, judged, mean, options
from proving_online import trained_clips

PRESETS = "mini_awm mini_nft mini_flash_grpo mini_grpo"


def main() -> int:
    chosen, proof = options(__doc__ or ""), Proof("compare")
    presets = os.environ.get("COMPARED", "mini_flash_grpo" if chosen.short else PRESETS).split()
    seeds = [int(seed) for seed in os.environ.get("SEEDS", "1" if chosen.short else "1 2 3").split()]
    clips = int(os.environ.get("CLIPS", "640"))
    for preset in presets:
        shares = []
        for seed in seeds:
            began = time.process_time()
            before, after = trained_clips(proof, preset, short=chosen.short, seed=seed, clips=clips)
            sides = judged(before), judged(after)
            change = interval(*sides, before)
            shares.append(change["mean"] / (1 - mean(sides[0])))
            judges = {"judge_before": round(mean(sides[0]), 4), "judge_after": round(mean(sides[1]), 4), **change}
            spent = round(time.process_time() - began)
            proof.say(
                "run", preset=preset, seed=seed, clips=clips, share_removed=round(shares[-1], 4), **judges, cpu_s=spent
            )
        proof.claim(f"{preset}: the share of the judge's error removed, mean over seeds", mean(shares), floor=-1)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
