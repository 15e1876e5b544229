"""Client of a reward head.

It computes the features of a clip by the networks that the head was trained with.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.external.clients import ONLY, ClipScores
from rewards.features import ClipFeatures
from rewards.heads.embedding import embed
from rewards.heads.model import RewardHead, read_head
from rewards.mix import Mix
from rewards.suite import RewardSuite


class HeadClient:
    """Scores clips by a head.

    The score is its value in 0..1, and the confidence falls with the ensemble's spread.
    """

    def __init__(self, key: str, path: Path) -> None:
        self._where = f"The reward head '{key}'"
        self._path = path

    @property
    def identity(self) -> str:
        return f"head {self._path.stem}"

    @cached_property
    def _head(self) -> RewardHead:
        return read_head(self._path)

    @cached_property
    def _suite(self) -> RewardSuite:
        card = self._head.card
        weights = dict.fromkeys(card.rewards, 1.0)
        mix = Mix(key=card.key, title=card.title, weights=weights, calibration=card.calibration, backends=card.backends)
        return RewardSuite(mix)

    def score(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Return an answer for each clip."""
        return [self._score(clip) for clip in clips]

    def score_features(self, group: Sequence[ClipFeatures]) -> list[ClipScores]:
        """Return an answer for each clip; pieces that its features have already are not computed again."""
        return [self._score(features.clip, features) for features in group]

    def close(self) -> None:
        """Forget the head and its networks."""
        self.__dict__.pop("_head", None)
        self.__dict__.pop("_suite", None)

    def _score(self, clip: Clip, like: ClipFeatures | None = None) -> ClipScores:
        try:
            features = self._suite.features(clip, like)
            report = self._suite.score_features(features)
            found = self._head.score(embed(features, report.results, self._head.card.rewards))
        except RewardError as error:
            return ClipScores(error=f"{self._where} failed: {error}")
        return ClipScores(scores={ONLY: found.value}, confidence=1 / (1 + found.std))
