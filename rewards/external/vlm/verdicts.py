"""Answers of a pairwise judge about a pair in both orders, their score, and gauges of the judge."""

from collections.abc import Sequence
from typing import Literal

Choice = Literal["A", "B", "tie", ""]
"""Choice of a pairwise answer; "" for one that cannot be read."""
Answers = tuple[Choice, Choice]
"""Answers about a pair: with one clip as video A, and with the other as video A."""


def pair_score(answers: Answers) -> float:
    """Return the score of the clip that is shown first in the first answer.

    1 for a win in both orders, 0 for a loss in both, else 1/2: different answers are a tie.
    """
    return {("A", "B"): 1.0, ("B", "A"): 0.0}.get(answers, 0.5)


def judge_gauges(asked: Sequence[Answers]) -> dict[str, float]:
    """Return shares in 0..1 over pairs (one or more) that show whether the judge can be relied on.

    `first_chosen` of the decisive answers (1/2: no preference for a place; left out without a decisive answer),
    `disagreement` of the pairs whose two orders differ, and `unreadable` of the answers.
    """
    answers = [answer for both in asked for answer in both]
    decisive = [answer for answer in answers if answer in ("A", "B")]
    return {
        "disagreement": sum(both not in (("A", "B"), ("B", "A"), ("tie", "tie")) for both in asked) / len(asked),
        "unreadable": answers.count("") / len(answers),
        **({"first_chosen": decisive.count("A") / len(decisive)} if decisive else {}),
    }
