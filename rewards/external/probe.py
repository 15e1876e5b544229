"""The probe: a fixed clip whose answer identifies a reward's model.

It shows that the model of a server has changed.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewards.clip import Clip
from rewards.external.clients import ClipScores, compares_clips
from rewards.external.declaration import KINDS, ExternalReward
from rewards.external.registry import is_external, open_external

NUM_FRAMES, SIDE_PX, FPS = 17, 64, 8.0
PROMPT = "a red square moving right on a grey background"
DIGITS = 4
"""Significant digits of a score that count: servers batch on GPUs, whose sums differ in the last digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The answer to the probe clip.

    It has raw scores by reward key, the identity of the model, and a hash of the scores.
    """

    key: str
    kind: str
    address: str
    identity: str
    seconds: float
    scores: dict[str, float | None]
    error: str
    digest: str


def probe_clip() -> Clip:
    """Return the probe: a red square of 16 px that moves right by 2 px a frame, 17 frames of 64x64 px."""
    frames = np.full((NUM_FRAMES, SIDE_PX, SIDE_PX, 3), 128, np.uint8)
    for index, frame in enumerate(frames):
        frame[24:40, 4 + 2 * index : 20 + 2 * index] = (220, 30, 30)
    return Clip(frames=frames, fps=FPS, prompt=PROMPT)


def reversed_probe() -> Clip:
    """Return the probe played backwards."""
    clip = probe_clip()
    return Clip(frames=np.ascontiguousarray(clip.frames[::-1]), fps=clip.fps, prompt=clip.prompt)


def run_probe(key: str) -> ProbeResult:
    """Send the probe to the declaration of a reward key.

    Raises RewardError for an unknown or wrong declaration.
    """
    reward = open_external(key)
    declaration, client = reward.source.declaration, reward.source.client
    began = time.perf_counter()
    # A client that compares clips needs a second one: the probe played backwards, which contradicts its prompt.
    answer = client.score([probe_clip(), *([reversed_probe()] if compares_clips(client) else [])])[0]
    seconds = time.perf_counter() - began
    scores = {f"{declaration.key}.{name}" if name else declaration.key: value for name, value in answer.scores.items()}
    return ProbeResult(
        key=declaration.key,
        kind=kind_of(declaration),
        address=address_of(declaration),
        identity=client.identity,
        seconds=seconds,
        scores=scores,
        error=answer.error,
        digest=_digest(answer),
    )


def probes_of(keys: Sequence[str]) -> list[ProbeResult]:
    """Probe each declaration once that has one of the reward keys."""
    bases = dict.fromkeys(key.split(".")[0] for key in keys if is_external(key))
    first = {base: next(key for key in keys if key.split(".")[0] == base) for base in bases}
    return [run_probe(key) for key in first.values()]


def kind_of(declaration: ExternalReward) -> str:
    """Return the table of the declaration: "python", "http", "vlm" or "head"."""
    return next(name for name in KINDS if getattr(declaration, name) is not None)


def address_of(declaration: ExternalReward) -> str:
    """Return the address, function or file of a declaration."""
    if declaration.http is not None:
        return declaration.http.url
    if declaration.vlm is not None:
        return declaration.vlm.url
    if declaration.python is not None:
        return declaration.python.function
    assert declaration.head is not None, "the schema asks for one kind"
    return declaration.head.file


def _digest(answer: ClipScores) -> str:
    rounded = {name: None if value is None else f"{value:.{DIGITS - 1}e}" for name, value in answer.scores.items()}
    text = json.dumps([rounded, answer.reason, bool(answer.error)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
