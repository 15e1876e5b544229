"""Client of a VLM judge: pointwise by yes/no or a rubric, and pairwise within the clips of a prompt.

Pairwise: the reward of clip i of a group of G is its win rate, `R_i = 1/(G-1) sum_{j != i} w_ij`, with w_ij 1 for a
win, 1/2 for a tie and 0 for a loss (Pref-GRPO, arXiv:2508.20751). Each pair is asked in both orders. Different
answers are a tie, which removes the judge's preference for a position; `first_chosen` measures that preference.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

from rewards.clip import Clip
from rewards.external.clients import ONLY, CallFailed, ClipScores, checked_answer
from rewards.external.json_calls import JsonCalls
from rewards.external.vlm.messages import (
    Choice,
    choice_in,
    numbers_after,
    numbers_in,
    probability_of_yes,
    request_about,
    request_about_pair,
    text_of,
)
from rewards.external.vlm.table import VlmJudge

RUBRIC_NAME = "score"
"""Name of the number that a rubric without sub-scores asks for."""
LEAST_ANSWERS, ONE_SIDED = 12, 0.9
"""From this many decisive answers on, a judge that chooses one position in this share of them is reported."""

log = logging.getLogger(__name__)


class VlmClient:
    """Scores clips by a VLM, several calls at a time."""

    def __init__(self, key: str, judge: VlmJudge, names: Sequence[str]) -> None:
        self._where = f"The judge of '{key}'"
        self._judge = judge
        self._names = tuple(names)
        self._calls = JsonCalls(
            self._where,
            f"{judge.url.rstrip('/')}/chat/completions",
            token_env=judge.token_env,
            timeout_s=judge.timeout_s,
            attempts=judge.attempts,
            backoff_s=judge.backoff_s,
        )
        self._threads = ThreadPoolExecutor(judge.concurrency, thread_name_prefix=f"judge-{key}")
        self._answered_by = ""

    @property
    def identity(self) -> str:
        return self._answered_by or self._judge.model

    @property
    def compares(self) -> bool:
        """True for a pairwise judge: a score depends on the other clips of the call that have the same prompt."""
        return self._judge.mode == "pairwise"

    def score(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Return an answer for each clip; a pairwise judge compares those that have the same prompt."""
        return self._compare(clips) if self.compares else list(self._threads.map(self._score_one, clips))

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._calls.close()

    # ------------------------------------------------------------------------------------------------------ pointwise

    def _score_one(self, clip: Clip) -> ClipScores:
        asked = tuple(name or RUBRIC_NAME for name in self._names)
        try:
            answer = self._post(request_about(self._judge, clip, asked))
            if self._judge.mode == "yes_no":
                share = probability_of_yes(answer, self._judge)
                return checked_answer(share, self._names, self._where, "" if share is not None else self._undecided())
            text = text_of(answer)
            numbers = numbers_after(text, self._judge.labels) if self._judge.labels else numbers_in(text, asked)
        except CallFailed as error:
            log.warning("%s", error)
            return ClipScores(error=str(error))
        except ValueError as error:
            log.warning("%s %s.", self._where, error)
            return ClipScores(error=f"{self._where} {error}.")
        return checked_answer({name: numbers[name or RUBRIC_NAME] for name in self._names}, self._names, self._where)

    def _undecided(self) -> str:
        words = " nor ".join((*self._judge.yes, *self._judge.no))
        return f"{self._where} answered neither {words}."

    def _post(self, body: dict[str, object]) -> object:
        answer = self._calls.post(body)
        if isinstance(answer, dict) and isinstance(answer.get("model"), str):
            self._answered_by = answer["model"][:120]
        return answer

    # ------------------------------------------------------------------------------------------------------- pairwise

    def _compare(self, clips: Sequence[Clip]) -> list[ClipScores]:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, clip in enumerate(clips):
            groups[clip.prompt].append(index)
        pairs = [pair for members in groups.values() for pair in combinations(members, 2)]
        orders = [order for i, j in pairs for order in ((i, j), (j, i))]
        choices = self._threads.map(lambda order: self._choose(clips[order[0]], clips[order[1]]), orders)
        given = dict(zip(orders, choices, strict=True))
        self._report_bias(list(given.values()))
        return [
            win_rate(index, [other for other in groups[clip.prompt] if other != index], given, self._where)
            for index, clip in enumerate(clips)
        ]

    def _choose(self, first: Clip, second: Clip) -> Choice | CallFailed:
        """Return the choice of one order, or the failure of its call."""
        try:
            return choice_in(text_of(self._post(request_about_pair(self._judge, first, second))))
        except CallFailed as error:
            log.warning("%s", error)
            return error
        except ValueError as error:
            return CallFailed(f"{self._where} {error}.")

    def _report_bias(self, choices: Sequence[Choice | CallFailed]) -> None:
        decisive = [choice for choice in choices if choice in ("A", "B")]
        if len(decisive) < LEAST_ANSWERS:
            return
        share = decisive.count("A") / len(decisive)
        if max(share, 1 - share) >= ONE_SIDED:
            log.warning(
                "%s chose the video in %s place in %.0f %% of %d answers: it judges the place, not the video. Change "
                "the question, or take another model.",
                self._where,
                "first" if share > 0.5 else "second",
                100 * max(share, 1 - share),
                len(decisive),
            )


def win_rate(
    index: int, others: Sequence[int], given: dict[tuple[int, int], Choice | CallFailed], where: str
) -> ClipScores:
    """Return the win rate of a clip in 0..1 against the others of its prompt.

    `given` has the choices by (first, second). The details of a rate are shares in 0..1: `first_chosen` of the decisive
    answers about this clip (1/2: no preference for a place), `disagreement` of the pairs whose two orders differ, and
    `unreadable` of the answers. A failed call makes the whole rate an error, because a rate over fewer opponents would
    not compare with the others.
    """
    if not others:
        return ClipScores(
            scores={ONLY: None},
            reason="A pairwise reward compares clips of one prompt, and this is the only one that is scored together.",
        )
    asked = [(given[index, other], given[other, index]) for other in others]
    answers = [answer for both in asked for answer in both]
    for answer in answers:
        if isinstance(answer, CallFailed):
            return ClipScores(error=str(answer))
    points = [_points(mine_first, mine_second) for mine_first, mine_second in asked]
    decisive = [answer for answer in answers if answer in ("A", "B")]
    details = {
        "compared": float(len(others)),
        "disagreement": sum(both not in (("A", "B"), ("B", "A"), ("tie", "tie")) for both in asked) / len(asked),
        "unreadable": answers.count("") / len(answers),
    }
    if decisive:
        details["first_chosen"] = decisive.count("A") / len(decisive)
    if details["unreadable"] == 1:
        return ClipScores(error=f"{where} gave no answer that is A, B or tie.")
    return ClipScores(scores={ONLY: sum(points) / len(points)}, details=details)


def _points(mine_first: Choice | CallFailed, mine_second: Choice | CallFailed) -> float:
    """Return 1 for a win in both orders, 0 for a loss in both, else 1/2."""
    if (mine_first, mine_second) == ("A", "B"):
        return 1.0
    return 0.0 if (mine_first, mine_second) == ("B", "A") else 0.5
