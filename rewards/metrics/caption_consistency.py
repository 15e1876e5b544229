"""Caption consistency: do captions of the frames alone agree with the prompt and with one another?

measures    a captioner, which never gets the prompt, describes up to five frames. Fidelity: similarity of the prompt
            and each caption (cross-encoder, in both orders), half the mean and half the best, because one bad caption
            is no fault of the clip. Steadiness: similarity of neighbouring captions, half the mean and half the worst.
            raw = fidelity x (1 + steadiness) / 2, so a clip that steadily shows something else gains nothing.
            Captions of stills contain no motion: words for motion in the prompt lower all its clips alike.
source      BLIP: Li et al. 2022, arXiv:2201.12086; cross-encoders for STS: Reimers & Gurevych 2019, arXiv:1908.10084;
            captions against prompts as a measure of text-to-video: EvalCrafter (BLIP-BLEU), arXiv:2310.11440
range       raw: 0 (the captions describe something else) to 1 (all agree with the prompt); higher is better
back ends   `captions`: "blip" (default), "mini" (see rewards/networks/captions.py); none replaces another
licence     BLIP: BSD-3-Clause; stsb-roberta-base: Apache-2.0; mini's: Apache-2.0
"""

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rewards.features import ClipFeatures
from rewards.networks.captions import DEFAULT, Caption, Pair, open_captioner, open_similarity
from rewards.spec import RewardResult, RewardSpec, not_applicable

SPEC = RewardSpec(
    key="caption_consistency",
    title="Caption consistency",
    question="Do captions made from the frames alone agree with the prompt, from beginning to end?",
    unit="similarity of captions and prompt",
    low=0.0,
    high=1.0,
    needs=("captions",),
    per_frame=True,
    licence="BLIP: BSD-3-Clause; cross-encoder: Apache-2.0; mini: Apache-2.0",
    source="BLIP, arXiv:2201.12086; cross-encoders, arXiv:1908.10084; EvalCrafter, arXiv:2310.11440",
    of_prompt=True,
)
BACKEND = "captions"
MOST_CAPTIONS = 5
LEAST_KNOWN = 0.6  # of the prompt's words; a network with a vocabulary of whole words cannot read others


def prepare(group: Sequence[ClipFeatures]) -> None:
    """Caption all clips with a prompt in one batch, then compare all captions."""
    asked = [features for features in group if features.clip.prompt.strip()]
    if not asked:
        return
    name = asked[0].backend(BACKEND, DEFAULT)
    similarity = open_similarity(name)  # first, because captions are useless without it
    _caption_together([features for features in asked if not features.has(_piece(name))], name)
    pairs = [pair for features in asked for some in _pairs(features, name) for pair in some]
    similarity(pairs)


def _caption_together(group: Sequence[ClipFeatures], name: str) -> None:
    captioner, start = open_captioner(name), time.perf_counter()
    frames = [_frames(features) for features in group]
    captions = iter(captioner([frame for some in frames for frame in some]))
    spent_s = (time.perf_counter() - start) / max(1, len(group))
    for features, some in zip(group, frames, strict=True):
        features.put(_piece(name), [next(captions) for _ in some], spent_s)


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip with a prompt. Raises RewardUnavailable without the networks' weights."""
    clip, name = features.clip, features.backend(BACKEND, DEFAULT)
    prompt = clip.prompt.strip()
    if not prompt:
        return not_applicable("The clip has no prompt that captions could be compared with.")
    similarity = open_similarity(name)
    known = similarity.known_share(prompt)
    if known < LEAST_KNOWN:
        return not_applicable(
            f"The caption back end {name!r} can read too few of the prompt's words.", known_words=known
        )
    with_prompt, neighbours = _pairs(features, name)
    alike = similarity(with_prompt)
    fidelity = _up(alike, best=True)
    steadiness = _up(similarity(neighbours), best=False) if neighbours else 1.0
    raw = fidelity * (1 + steadiness) / 2
    measurement = f"{SPEC.key}.{name}"
    series = np.full(clip.num_frames, np.nan)
    series[captioned_frames(clip.num_frames)] = features.calibration.map(measurement, alike)
    captions = captions_of(features, name)
    sureness = float(np.mean([caption.confidence for caption in captions]))
    return RewardResult(
        value=features.calibration.map(measurement, raw),
        raw=raw,
        backend=name,
        confidence=sureness * known * (1.0 if features.calibration.is_measured(measurement) else 0.5),
        per_frame=series,
        details={"fidelity": fidelity, "steadiness": steadiness, "caption_confidence": sureness, "known_words": known},
        notes=tuple(f"Frame {t}: {c.text}" for t, c in zip(captioned_frames(clip.num_frames), captions, strict=True)),
    )


def captioned_frames(num_frames: int) -> np.ndarray:
    """Return the numbers of at most five frames, evenly spaced from the first to the last: `int64[N]`."""
    return np.unique(np.linspace(0, num_frames - 1, min(MOST_CAPTIONS, num_frames)).round().astype(int))


def captions_of(features: ClipFeatures, name: str) -> list[Caption]:
    """Return one caption for each of the `captioned_frames`; computed once a clip."""
    return features.once(_piece(name), lambda: open_captioner(name)(_frames(features)))


def _pairs(features: ClipFeatures, name: str) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to compare: the prompt with each caption, and each caption with the next one."""
    prompt, texts = features.clip.prompt.strip(), [caption.text for caption in captions_of(features, name)]
    return [(prompt, text) for text in texts], list(pairwise(texts))


def _up(values: np.ndarray, *, best: bool) -> float:
    """Return half the mean plus half the best or the worst."""
    end = values.max() if best else values.min()
    return float(values.mean() + end) / 2


def _frames(features: ClipFeatures) -> list[np.ndarray]:
    return list(features.clip.frames[captioned_frames(features.clip.num_frames)])


def _piece(name: str) -> str:
    return f"captions.{name}"
