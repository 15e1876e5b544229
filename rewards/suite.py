"""`RewardSuite`: score clips with the rewards of one mix, which share their intermediate results.

A reward is found by `rewards.registry.load_reward` and has `SPEC` and `score(features)`. It may have
`overlays(features)`, which makes overlays; `prepare(group)`, which runs a network or asks a server once for a group
of clips and stores the outputs in their features; and `compare_clips(clips)`, which compares all clips that are scored
together and returns a shared piece for each.
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from rewards.calibration import mix_calibration, read_calibration
from rewards.clip import Clip
from rewards.errors import RewardError, RewardUnavailable
from rewards.features import ClipFeatures
from rewards.gates import measure_gates
from rewards.mix import Mix, RewardReport, check_backends, combine
from rewards.registry import load_reward
from rewards.spec import RewardResult, not_applicable
from rewards.vision.flow import FlowBackend, open_flow

GROUP_CLIPS = 8  # 64 frames of 256x256 with all shared pieces take about 0.2 GB a clip


class RewardSuite:
    """The rewards of `mix` with a weight above 0.

    `flow` replaces the optical flow that the mix names. `monitored` are further rewards, which are measured but do
    not count.

    Raises RewardError for a reward, a calibration set or a back end that does not exist.
    """

    def __init__(self, mix: Mix, *, flow: FlowBackend | None = None, monitored: Collection[str] = ()) -> None:
        self.mix = mix
        self._flow = flow or open_flow(mix.backends.get("flow", "dis"))
        check_backends(mix.backends, mix.key)
        self._calibration = read_calibration(mix.calibration)
        self._calibration_name = mix_calibration(mix)
        counted = [key for key, weight in mix.weights.items() if weight > 0]
        self._modules = {key: load_reward(key) for key in dict.fromkeys([*counted, *monitored])}

    @property
    def is_faster_together(self) -> bool:
        """True if calls of external rewards run at the same time for a group, and none compares its clips."""
        external = [module.compares for module in self._modules.values() if hasattr(module, "compares")]
        return bool(external) and not any(external)

    def features(self, clip: Clip, like: ClipFeatures | None = None) -> ClipFeatures:
        """Return the clip's shared pieces, as this mix computes them.

        `like` holds the features of the same clip from another suite: pieces that do not depend on the mix are taken
        from it.
        """
        if like is not None and like.clip is clip and like.flow_name == self._flow.name:
            return like.recast(calibration=self._calibration, backends=self.mix.backends)
        return ClipFeatures(clip, flow=self._flow, calibration=self._calibration, backends=self.mix.backends)

    def score(self, clip: Clip, clip_id: str = "") -> RewardReport:
        """Score one clip; a reward that does not apply is None with a reason.

        Raises RewardError when a reward fails.
        """
        return self.score_group([clip], [clip_id])[0]

    def score_group(self, clips: Sequence[Clip], clip_ids: Sequence[str] | None = None) -> list[RewardReport]:
        """Score clips that belong together (the variations of one prompt): networks process them as one batch.

        All other computations run on all cores, one clip a thread. A report does not depend on the rest of the group,
        unless a reward compares clips (a pairwise judge).
        """
        ids = list(clip_ids) if clip_ids is not None else [""] * len(clips)
        return self._score_group(clips, ids, self._compared(clips))

    def _score_group(
        self, clips: Sequence[Clip], ids: Sequence[str], compared: Sequence[Mapping[str, Any]]
    ) -> list[RewardReport]:
        if len(ids) != len(clips):
            raise RewardError(f"A group needs one id a clip, but got {len(ids)} ids for {len(clips)} clips.")
        group = [self.features(clip) for clip in clips]
        for features, pieces in zip(group, compared, strict=True):
            for name, value in pieces.items():
                features.put(name, value)
        missing = self._prepare(group)
        with ThreadPoolExecutor(max_workers=min(len(group), _cores()) or 1) as threads:
            return list(threads.map(lambda features, clip_id: self._report(features, clip_id, missing), group, ids))

    def score_many(self, clips: Sequence[Clip], clip_ids: Sequence[str] | None = None) -> list[RewardReport]:
        """Score any number of clips, in groups that fit into memory.

        Rewards that compare clips compare all of them.
        """
        ids = list(clip_ids) if clip_ids is not None else [""] * len(clips)
        starts = range(0, len(clips), GROUP_CLIPS)
        compared = self._compared(clips)
        parts = (slice(start, start + GROUP_CLIPS) for start in starts)
        groups = (self._score_group(clips[part], ids[part], compared[part]) for part in parts)
        return [report for group in groups for report in group]

    def results_of(self, clips: Sequence[Clip]) -> list[tuple[dict[str, RewardResult], dict[str, str]]]:
        """Return the results of a group without gates or a total.

        For each clip they are its results, and the reasons of missing rewards, by key. Raises RewardError when a reward
        fails.
        """
        group = [self.features(clip) for clip in clips]
        missing = self._prepare(group)
        found = [self._results(features, missing) for features in group]
        return [(results, absent) for results, _, absent in found]

    def score_features(self, features: ClipFeatures, clip_id: str = "") -> RewardReport:
        """Score a clip from features that the caller keeps, for example to make overlays of them."""
        return self._report(features, clip_id, self._prepare([features]))

    def overlays(self, features: ClipFeatures, key: str) -> dict[str, np.ndarray]:
        """Return the overlays of one reward, name to `uint8[T,h,w,3]` at analysis size; it may have none."""
        make = getattr(load_reward(key), "overlays", None)
        return make(features) if make else {}

    def _compared(self, clips: Sequence[Clip]) -> list[dict[str, Any]]:
        """Return the shared pieces of each clip that come from a comparison of all clips."""
        pieces: list[dict[str, Any]] = [{} for _ in clips]
        for module in self._modules.values():
            found = getattr(module, "compare_clips", _no_comparison)(clips)
            if found is not None:
                name, values = found
                for piece, value in zip(pieces, values, strict=True):
                    piece[name] = value
        return pieces

    def _prepare(self, group: list[ClipFeatures]) -> dict[str, str]:
        """Run the batched part of the rewards; return unavailable rewards with their reasons."""
        missing: dict[str, str] = {}
        for key, module in self._modules.items():
            try:
                getattr(module, "prepare", _nothing)(group)
            except RewardUnavailable as error:
                missing[key] = str(error)
        return missing

    def _results(
        self, features: ClipFeatures, missing: Mapping[str, str]
    ) -> tuple[dict[str, RewardResult], dict[str, float], dict[str, str]]:
        """Return the results, the seconds of each reward and the missing rewards of one clip."""
        results, seconds, missing = {}, {}, dict(missing)
        for key, module in self._modules.items():
            shared_s, start = sum(features.seconds.values()), time.perf_counter()
            try:
                results[key] = not_applicable(missing[key]) if key in missing else _score(module, features)
            except RewardUnavailable as error:
                missing[key] = str(error)
                results[key] = not_applicable(missing[key])
            seconds[key] = time.perf_counter() - start - (sum(features.seconds.values()) - shared_s)
        return results, seconds, missing

    def _report(self, features: ClipFeatures, clip_id: str, absent: Mapping[str, str]) -> RewardReport:
        results, seconds, missing = self._results(features, absent)
        gates = measure_gates(features).to_dict()
        values = {key: result.value for key, result in results.items()}
        total = combine(values, self.mix.weights, gates, self.mix.gates, missing)
        return RewardReport(
            clip_id=clip_id,
            mix=self.mix.key,
            results=results,
            weights=total.weights,
            gates=gates,
            total=total.value,
            seconds={**seconds, **{f"shared.{piece}": spent for piece, spent in features.seconds.items()}},
            calibration=self._calibration_name,
            notes=total.notes,
            missing=missing,
            unjudged=self._unjudged(features.clip, results, missing),
        )

    def _unjudged(self, clip: Clip, results: Mapping[str, RewardResult], missing: Collection[str]) -> tuple[str, ...]:
        """Return the available rewards of the mix that compare with the prompt and cannot judge this one."""
        if not clip.prompt.strip():
            return ()
        of_prompt = [key for key in results if self._modules[key].SPEC.of_prompt and self.mix.weights.get(key, 0) > 0]
        return tuple(key for key in of_prompt if results[key].value is None and key not in missing)


def _score(module: Any, features: ClipFeatures) -> RewardResult:
    result: RewardResult = module.score(features)
    series = result.per_frame
    if series is None or len(series) == features.clip.num_frames:
        return result
    wrong = f"{len(series)} values for {features.clip.num_frames} frames"
    raise RewardError(f"The reward {module.SPEC.key!r} gave a per-frame series of {wrong}.")


def _nothing(_group: list[ClipFeatures]) -> None:
    return None


def _no_comparison(_clips: Sequence[Clip]) -> None:
    return None


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
