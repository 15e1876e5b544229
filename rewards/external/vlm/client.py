"""Client of a VLM judge: pointwise by yes/no or a rubric, and pairwise within the clips of a prompt.

Pairwise: the reward of clip i of a group of G is its win rate, `R_i = 1/(G-1) sum_{j != i} w_ij`, with w_ij 1 for a
win, 1/2 for a tie and 0 for a loss (Pref-GRPO, arXiv:2508.20751). Each pair is asked in both orders. Different
answers are a tie, which removes the judge's preference for a position; `first_chosen` measures that preference.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import combinations

from rewards.clip import Clip
from rewards.external.clients import ONLY, CallFailed, ClipScores, checked_answer
from rewards.external.json_calls import JsonCalls
from rewards.external.vlm.messages import (
    Pictures,
    choice_in,
    numbers_after,
    numbers_in,
    pictures_of,
    probability_of_yes,
    request_about,
    request_about_pair,
    text_of,
)
from rewards.external.vlm.table import VlmJudge
from rewards.external.vlm.verdicts import Answers, Choice, judge_gauges, pair_score

RUBRIC_NAME = "score"
"""Name of the number that a rubric without sub-scores asks for."""
LEAST_ANSWERS, ONE_SIDED = 12, 0.9
"""From this many decisive answers on, a judge that chooses one position in this share of them is reported."""

UNREADABLE = "gave no answer that is A, B or tie"

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
        """Return an answer for each clip; pairs have one prompt and first picture."""
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
        subjects = [_subject(clip) for clip in clips]
        groups: dict[tuple[str, bytes], list[int]] = defaultdict(list)
        for index, subject in enumerate(subjects):
            groups[subject].append(index)
        pairs = [pair for members in groups.values() for pair in combinations(members, 2)]
        answers = self._ask_both_orders([(clips[i], clips[j]) for i, j in pairs])
        given = dict(zip([order for i, j in pairs for order in ((i, j), (j, i))], answers, strict=True))
        self._report_bias(answers)
        return [
            win_rate(index, [other for other in groups[subject] if other != index], given, self._where)
            for index, subject in enumerate(subjects)
        ]

    def judge_pairs(self, pairs: Sequence[tuple[Clip, Clip]]) -> list[Answers | CallFailed]:
        """Return the answers about each pair in both orders, or the failure of a call.

        A pair whose answers can both not be read is a failure.
        """
        answers = self._ask_both_orders(pairs)
        return [self._both(*both) for both in zip(answers[::2], answers[1::2], strict=True)]

    def _both(self, first: Choice | CallFailed, second: Choice | CallFailed) -> Answers | CallFailed:
        if isinstance(first, CallFailed):
            return first
        if isinstance(second, CallFailed):
            return second
        return (first, second) if first or second else CallFailed(f"{self._where} {UNREADABLE}.")

    def _ask_both_orders(self, pairs: Sequence[tuple[Clip, Clip]]) -> list[Choice | CallFailed]:
        """Return two answers a pair, several calls at a time; each clip is encoded once."""
        clips = {id(clip): clip for pair in pairs for clip in pair}
        pictures = dict(zip(clips, self._threads.map(self._encode, clips.values()), strict=True))
        orders = [order for one, other in pairs for order in ((one, other), (other, one))]
        asked = [(first.prompt, pictures[id(first)], pictures[id(second)]) for first, second in orders]
        return list(self._threads.map(lambda order: self._choose(*order), asked))

    def _encode(self, clip: Clip) -> Pictures | CallFailed:
        try:
            return pictures_of(self._judge, clip)
        except CallFailed as error:
            return error

    def _choose(self, prompt: str, first: Pictures | CallFailed, second: Pictures | CallFailed) -> Choice | CallFailed:
        """Return the choice of one order, or the failure of its call."""
        if isinstance(first, CallFailed):
            return first
        if isinstance(second, CallFailed):
            return second
        try:
            return choice_in(text_of(self._post(request_about_pair(self._judge, prompt, first, second))))
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


def _subject(clip: Clip) -> tuple[str, bytes]:
    """Return what compared clips have in common: the prompt, and the picture that they were made from."""
    return clip.prompt, b"" if clip.first_picture is None else sha256(clip.first_picture.tobytes()).digest()


def win_rate(
    index: int, others: Sequence[int], given: dict[tuple[int, int], Choice | CallFailed], where: str
) -> ClipScores:
    """Return the win rate of a clip in 0..1 against the others of its prompt.

    `given` has the choices by (first, second). The details of a rate are the gauges of the answers about this clip. A
    failed call makes the whole rate an error, because a rate over fewer opponents would not compare with the others.
    """
    if not others:
        return ClipScores(
            scores={ONLY: None},
            reason="A pairwise reward compares clips of one prompt, and this is the only one that is scored together.",
        )
    asked: list[Answers] = []
    for other in others:
        mine_first, mine_second = given[index, other], given[other, index]
        for answer in (mine_first, mine_second):
            if isinstance(answer, CallFailed):
                return ClipScores(error=str(answer))
        asked.append((mine_first, mine_second))  # type: ignore[arg-type]  # no failure: see above
    details = {"compared": float(len(others)), **judge_gauges(asked)}
    if details["unreadable"] == 1:
        return ClipScores(error=f"{where} {UNREADABLE}.")
    return ClipScores(scores={ONLY: sum(map(pair_score, asked)) / len(asked)}, details=details)
