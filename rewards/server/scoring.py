"""Scores of clips by the names that a reward server offers, in batches that several requests share."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rewards.calibration import mix_calibration
from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.mix import Mix
from rewards.registry import load_reward
from rewards.spec import RewardResult
from rewards.suite import RewardSuite

TOTAL = "total"
"""Name of the total of a mix, gates included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedScores:
    """The values in 0..1 of one clip by name, None with the reason; `errors` by name instead of a value."""

    values: Mapping[str, float | None] = field(default_factory=dict)
    reason: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)


class ServedRewards:
    """The rewards of a mix under the names that a client may ask for.

    The sub-scores of a single declaration have their own names; elsewhere a name is the key with `_` for the dot.

    `default` is the name of the score for a client that names none: the total of a mix, or the only reward.
    Raises RewardError for a pairwise reward, whose value depends on clips of other requests, and for an unknown one.
    """

    def __init__(self, mix: Mix, *, total: bool) -> None:
        self.mix = mix
        self.version = mix_calibration(mix)
        self.keys = _served_names([key for key, weight in mix.weights.items() if weight > 0], total)
        self.names = (*([TOTAL] if total else []), *self.keys)
        self.default = self.names[0] if total or len(self.names) == 1 else None
        for key in self.keys.values():
            if getattr(load_reward(key), "compares", False):
                raise RewardError(
                    f"The reward {key!r} compares clips with each other, so it cannot be served: declare the judge "
                    "where the training runs."
                )
        self._suite = RewardSuite(mix)

    def check_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names that a request asks for, the default for none.

        Raises RewardError for an unknown one.
        """
        if not names and self.default is None:
            raise RewardError(f"The request names no score: name some of {', '.join(self.names)}.")
        for name in names:
            if name not in self.names:
                raise RewardError(f"There is no score {name!r} on this server: name some of {', '.join(self.names)}.")
        return tuple(names) or (str(self.default),)

    def score(self, clips: Sequence[Clip]) -> list[ServedScores]:
        """Return all scores of each clip; a clip that cannot be scored does not stop the others."""
        try:
            return self._score(clips)
        except RewardError as error:
            if len(clips) == 1:
                return [ServedScores(errors=dict.fromkeys(self.names, str(error)))]
            return [scored for clip in clips for scored in self.score([clip])]

    def _score(self, clips: Sequence[Clip]) -> list[ServedScores]:
        if TOTAL not in self.names:
            return [self._scored(results, missing) for results, missing in self._suite.results_of(clips)]
        return [
            self._scored(report.results, report.missing, {TOTAL: report.total}, report.notes)
            for report in self._suite.score_group(clips)
        ]

    def _scored(
        self,
        results: Mapping[str, RewardResult],
        missing: Mapping[str, str],
        total: Mapping[str, float | None] | None = None,
        notes: Sequence[str] = (),
    ) -> ServedScores:
        """Return the scores of a clip. A missing reward is the error of its name, and of the total."""
        values = {**(total or {}), **{name: results[key].value for name, key in self.keys.items()}}
        reasons = [result.reason for result in results.values() if result.value is None] if total is None else notes
        errors = {name: missing[key] for name, key in self.keys.items() if key in missing}
        if missing and total is not None:
            errors[TOTAL] = " ".join(missing.values())
        return ServedScores(values=values, reason=" ".join(dict.fromkeys(reasons)), errors=errors)


def _served_names(keys: Sequence[str], total: bool) -> dict[str, str]:
    bases = {key.partition(".")[0] for key in keys}
    if not total and len(bases) == 1 and all("." in key for key in keys):
        return {key.partition(".")[2]: key for key in keys}
    return {key.replace(".", "_"): key for key in keys}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ScoreCall:
    """The clips of a request; its batch fills `results`."""

    clips: Sequence[Clip]
    results: list[ServedScores] = field(default_factory=list)


class BatchScorer:
    """Scores one batch at a time; requests that wait meanwhile share the next batch, up to `batch` clips.

    A request with more clips than that is a batch of its own.
    """

    def __init__(self, rewards: ServedRewards, batch: int = 8) -> None:
        self._rewards, self._batch = rewards, batch
        self._waiting: deque[_ScoreCall] = deque()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score")

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait for a batch."""
        return len(self._waiting)

    def score(self, clips: Sequence[Clip]) -> list[ServedScores]:
        """Return the scores of a request's clips. Blocks. Raises RuntimeError when the shared batch failed."""
        job = _ScoreCall(clips=clips)
        with self._lock:
            self._waiting.append(job)
            # Batches run in the order of requests: when this one has run, it or an earlier one contained the job.
            batch = self._thread.submit(self._score_batch)
        batch.result()
        if len(job.results) != len(clips):
            raise RuntimeError("the batch that contained these clips failed")
        return job.results

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _score_batch(self) -> None:
        jobs = self._next_jobs()
        if not jobs:
            return
        scored = iter(self._rewards.score([clip for job in jobs for clip in job.clips]))
        for job in jobs:
            job.results.extend(next(scored) for _ in job.clips)

    def _next_jobs(self) -> list[_ScoreCall]:
        with self._lock:
            jobs: list[_ScoreCall] = []
            count = 0
            while self._waiting and (not jobs or count + len(self._waiting[0].clips) <= self._batch):
                jobs.append(self._waiting.popleft())
                count += len(jobs[-1].clips)
            return jobs


def answer_of(scored: ServedScores, names: Sequence[str], single: bool) -> dict[str, Any]:
    """Return a result of the protocol: `score` for a request without names, else `scores`."""
    if errors := [scored.errors[name] for name in names if name in scored.errors]:
        return {"error": " ".join(dict.fromkeys(errors))}
    if single:
        return {"score": scored.values[names[0]], "reason": scored.reason}
    return {"scores": {name: scored.values[name] for name in names}, "reason": scored.reason}
