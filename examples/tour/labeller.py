"""A simulated labeller: the judge of `mini` with noise and an optional bias to one side.

This is the only use of the judge in training, as the source of votes, and runs trained on such votes are marked.
"""

import math
from dataclasses import dataclass

import numpy as np

from engine.labelling.votes import Choice
from engine.mini.judge import judge
from engine.seeds import seed_for


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLabeller:
    """Votes by the judge's scores, with P(left) = sigmoid((left - right) / noise + left_bias).

    `noise` is in units of the judge's score 0..1: 0.1 is a careful person, 1 a careless one. `left_bias` is a log-odds:
    0.5 makes 62 % lefts of equal clips. With probability `ties`, clips that differ by less than `noise` get a tie.
    `seed` and the pair's name decide every draw, so the same labeller gives the same vote for the same showing.
    """

    name: str
    noise: float = 0.1
    left_bias: float = 0.0
    ties: float = 0.3
    seed: int = 0

    def compare(self, left: np.ndarray, right: np.ndarray, prompt: str, showing: str) -> Choice:
        """Vote on two clips `uint8[T,H,W,3]` of a prompt; `showing` identifies the pair and its sides."""
        scores = [judge(frames, prompt).score for frames in (left, right)]
        if any(score is None for score in scores):
            return "skip"
        left_score, right_score = (0.0 if score is None else score for score in scores)
        return self.choose(left_score, right_score, showing)

    def choose(self, left: float, right: float, showing: str) -> Choice:
        """Vote by the judge's scores 0..1."""
        first, second = np.random.default_rng(seed_for(self.seed, prompt=f"{self.name} {showing}")).random(2)
        if abs(left - right) < self.noise and first < self.ties:
            return "tie"
        return "left" if second < self.chance_of_left(left, right) else "right"

    def chance_of_left(self, left: float, right: float) -> float:
        """Return the probability of a vote for the left clip, given no tie."""
        logit = (left - right) / max(self.noise, 1e-6) + self.left_bias
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))
