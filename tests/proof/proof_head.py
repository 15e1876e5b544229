"""A reward head from 300 simulated votes, against a learned mix and the best single reward on the same votes.

The judge, with noise, votes on three clips of each of 100 prompts. Accuracies are those of the product: nested
cross-validation over prompts, on votes that were held out. The goal is 5 points over the learned mix. `ceiling` is the
accuracy of the judge's own order on these votes, which no head exceeds but by chance. `SEEDS` are those of clips and
labellers.
"""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from proving import Proof, judged, make, mean, open_mini, options

from engine.config.presets import load_preset
from engine.config.prompts import read_prompts
from engine.labelling.preference_pairs import PairTally
from engine.labelling.stats.reward_head import train_head
from engine.request import GenerationRequest
from engine.seeds import seed_for
from examples.tour.labeller import SimulatedLabeller
from rewards.clip import Clip
from rewards.heads.embedding import embed
from rewards.registry import REWARDS
from rewards.suite import RewardSuite

MIX, PROMPTS, SAMPLES, GOAL = "mini", 100, 3, 0.05
SHAPE: dict[str, Any] = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "num_steps": 8, "guidance": 1.0}
VOTES = {"left": 1.0, "right": 0.0, "tie": 0.5}


def tallies_of(clips: Sequence[Clip], seed: int) -> tuple[list[PairTally], float]:
    """One vote on each pair of clips of a prompt, without pairs that the labeller skips; and the ceiling."""
    labeller, scores = SimulatedLabeller(name="careful", noise=0.1, seed=seed), judged(clips)
    tallies, agreed = [], []
    for start in range(0, len(clips), SAMPLES):
        for one, other in combinations(range(start, start + SAMPLES), 2):
            left, right = scores[one], scores[other]
            if left is None or right is None:
                continue
            pair = f"{one} {other}"
            score = VOTES[labeller.choose(left, right, pair)]
            if score != VOTES["tie"]:
                agreed.append(0.5 if left == right else float((left > right) == (score == VOTES["left"])))
            sides = {"clip_a": str(one), "clip_b": str(other), "entrant_a": "mini", "entrant_b": "mini"}
            tallies.append(PairTally(pair_id=pair, prompt=clips[one].prompt, votes=1, score=score, **sides))
    return tallies, mean(agreed)


def accuracies(proof: Proof, family: Any, seed: int, *, short: bool) -> tuple[float, float]:
    """Held-out accuracies of the head and of the learned mix."""
    wanted = [
        GenerationRequest(prompt=prompt, seed=seed_for(seed, prompt=f"head of {prompt}", sample=sample), **SHAPE)
        for prompt in read_prompts("mini")[: 20 if short else PROMPTS]
        for sample in range(SAMPLES)
    ]
    clips, _ = make(family, wanted)
    mix = load_preset("rewards", MIX)
    rewards = [key for key, weight in mix.weights.items() if weight > 0 and key in REWARDS]
    suite = RewardSuite(mix)
    embeddings = {}
    for number, clip in enumerate(clips):
        features = suite.features(clip)
        embeddings[str(number)] = embed(features, suite.score_features(features).results, rewards)
    tallies, ceiling = tallies_of(clips, seed)
    card = {"key": "proof", "title": "Proof", "created_at": datetime.now(UTC), "source": "simulated votes"}
    head = train_head(tallies, embeddings, mix=mix, rewards=rewards, card=card, seed=seed).card
    found = head.accuracy or 0.0, head.mix_accuracy or 0.0
    proof.say(
        "run",
        seed=seed,
        pairs=len(tallies),
        ties=sum(tally.score == VOTES["tie"] for tally in tallies),
        head=round(found[0], 4),
        learned_mix=round(found[1], 4),
        ceiling=round(ceiling, 4),
        best_reward=head.best_reward,
        best_reward_accuracy=round(head.best_reward_accuracy or 0.0, 4),
        penalties=head.penalties,
    )
    return found


def main() -> int:
    chosen, proof, family = options(__doc__ or ""), Proof("head"), open_mini()
    seeds = [int(seed) for seed in os.environ.get("SEEDS", "1" if chosen.short else "1 2 3").split()]
    found = [accuracies(proof, family, seed, short=chosen.short) for seed in seeds]
    gains = [head - mix for head, mix in found]
    floor = -1 if chosen.short else 0
    proof.claim("the head is better than the learned mix, mean over seeds", mean(gains), floor=floor, goal=GOAL)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
