"""The judge of `mini` as a noisy rater, asked about one clip or about two: rewards for the proof of pairwise judging.

A look at a clip gives the judge's score plus normal noise of its own. The pointwise reward is one look; the pairwise
one compares two looks, in both orders, and is the win rate of the product's pairwise VLM judges.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from engine.mini.judge import judge
from engine.seeds import seed_for
from rewards.clip import Clip
from rewards.external.vlm.client import win_rate
from rewards.external.vlm.verdicts import Choice

NOISE = 0.2
"""Standard deviation of a look, in units of the judge's score 0..1."""


class NoisyJudge:
    """`noise` is the standard deviation of a look, `seed` decides all of them in the order of the calls."""

    compares_clips = False

    def __init__(self, seed: int, noise: float = NOISE) -> None:
        self._random = np.random.default_rng(seed_for(seed, prompt="looks of the noisy judge"))
        self._noise = noise
        self.looks = 0

    def look(self, score: float) -> float:
        self.looks += 1
        return score + self._noise * float(self._random.standard_normal())


class Pointwise(NoisyJudge):
    """Mean of `repeats` looks at each clip."""

    def __init__(self, seed: int, repeats: int = 1) -> None:
        super().__init__(seed)
        self._repeats = repeats
        self.__name__ = "pointwise" if repeats == 1 else f"pointwise_{repeats}"

    def __call__(self, prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
        scores = [judge(clip.frames, prompt).score for prompt, clip in zip(prompts, completions, strict=True)]
        looks = range(self._repeats)
        return [None if score is None else float(np.mean([self.look(score) for _ in looks])) for score in scores]


class Pairwise(NoisyJudge):
    """Win rate among the clips of a prompt, 0..1."""

    __name__ = "pairwise"
    compares_clips = True

    def __call__(self, prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, prompt in enumerate(prompts):
            groups[prompt].append(index)
        scores = [judge(clip.frames, prompt).score for prompt, clip in zip(prompts, completions, strict=True)]
        rates: list[float | None] = [None] * len(scores)
        for members in groups.values():
            known = {index: score for index in members if (score := scores[index]) is not None}
            given: dict[tuple[int, int], Any] = {}
            for one, other in combinations(known, 2):
                given[one, other] = self._choice(known[one], known[other])
                given[other, one] = self._choice(known[other], known[one])
            for index in known:
                found = win_rate(index, [other for other in known if other != index], given, "The noisy judge")
                rates[index] = next(iter(found.scores.values())) if found.scores else None
        return rates

    def _choice(self, first: float, second: float) -> Choice:
        return "A" if self.look(first) > self.look(second) else "B"
