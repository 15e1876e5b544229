"""`DeclaredReward`: an external reward, or one sub-score of it, with the interface of a reward module."""

from collections.abc import Mapping, Sequence

from rewards.clip import Clip
from rewards.errors import RewardError, RewardUnavailable
from rewards.external.clients import ONLY, ClipScores, FeaturesClient, RewardClient, compares_clips
from rewards.external.declaration import Anchors, ExternalReward
from rewards.features import ClipFeatures
from rewards.spec import RewardResult, RewardSpec, not_applicable

ROUNDING = 1e-3
"""A score without calibration may be outside 0..1 by this much: sums of probabilities are rounded."""


class AnswerSource:
    """The answers of one declaration, computed once a clip and shared by its sub-scores."""

    def __init__(self, declaration: ExternalReward, client: RewardClient) -> None:
        self.declaration = declaration
        self.client = client
        self._piece = f"external.{declaration.key}"

    def compare(self, clips: Sequence[Clip]) -> tuple[str, Sequence[ClipScores]] | None:
        """Return the name of the shared piece and the answers of a client that compares clips.

        The result is None for another client.
        """
        return (self._piece, self.client.score(clips)) if compares_clips(self.client) else None

    def prepare(self, group: Sequence[ClipFeatures]) -> None:
        """Score the clips of the group that have no answer yet, in one call of the client."""
        waiting = [features for features in group if not features.has(self._piece)]
        if not waiting:
            return
        for features, answer in zip(waiting, self._ask(waiting), strict=True):
            features.put(self._piece, answer)

    def answer(self, features: ClipFeatures) -> ClipScores:
        """Return the clip's answer.

        Raises RewardError for a failure of a required reward, RewardUnavailable for that of another.
        """
        answer = features.once(self._piece, lambda: self._ask([features])[0])
        if answer.error:
            raise self.failure(answer.error)
        return answer

    def failure(self, why: str) -> RewardError:
        """Return the error for a clip without a score: RewardUnavailable unless the reward is required."""
        if self.declaration.required:
            return RewardError(f"{why} The reward is required, so nothing is scored without it.")
        return RewardUnavailable(why)

    def _ask(self, group: Sequence[ClipFeatures]) -> list[ClipScores]:
        if isinstance(self.client, FeaturesClient):
            return self.client.score_features(group)
        return self.client.score([features.clip for features in group])


class DeclaredReward:
    """One reward of a declaration: `name` is its sub-score, "" for a reward without any."""

    def __init__(self, source: AnswerSource, name: str = ONLY) -> None:
        declaration = source.declaration
        part = declaration.scores.get(name)
        self.source, self._name = source, name
        self._range: Anchors | None = part.calibration if part else declaration.calibration
        whole = declaration.title
        self.SPEC = RewardSpec(
            key=f"{declaration.key}.{name}" if name else declaration.key,
            title=(part.title or f"{whole}: {name}") if part else whole,
            question=(part.question if part else "") or declaration.question,
            unit=declaration.unit,
            low=self._range.bad if self._range else 0.0,
            high=self._range.good if self._range else 1.0,
            licence=declaration.licence,
            source=declaration.source,
            of_prompt=declaration.of_prompt,
        )

    @property
    def compares(self) -> bool:
        """True when the value of a clip depends on the other clips that are scored with it."""
        return compares_clips(self.source.client)

    def compare_clips(self, clips: Sequence[Clip]) -> tuple[str, Sequence[ClipScores]] | None:
        """Return the shared piece that compares all clips of a prompt, and its value for each clip.

        The result is None if the reward has no such piece.
        """
        return self.source.compare(clips)

    def prepare(self, group: Sequence[ClipFeatures]) -> None:
        """Score a group of clips at once."""
        self.source.prepare(group)

    def score(self, features: ClipFeatures) -> RewardResult:
        """Return the clip's value.

        Raises RewardUnavailable when it could not be scored or is out of range, RewardError if it is required.
        """
        answer = self.source.answer(features)
        raw = answer.scores[self._name]
        if raw is None:
            return not_applicable(answer.reason)
        if self._range is None and not -ROUNDING <= raw <= 1 + ROUNDING:
            raise self.source.failure(
                f"The reward '{self.SPEC.key}' gave {raw!r}, but without a calibration its scores must be in 0..1: "
                "give `bad` and `good` raw scores in its declaration."
            )
        return RewardResult(
            value=min(1.0, max(0.0, raw)) if self._range is None else self._range.value(raw),
            raw=raw,
            backend=self.source.client.identity,
            confidence=answer.confidence,
            details={**self._others(answer.scores), **answer.details},
        )

    def _others(self, scores: Mapping[str, float | None]) -> dict[str, float]:
        return {name: value for name, value in scores.items() if name != self._name and value is not None}
