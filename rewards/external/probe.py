"""The probe: a fixed clip whose answer identifies a reward's model.

It shows that the model of a server has changed.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewards.clip import Clip
from rewards.external.clients import ONLY, compares_clips
from rewards.external.declaration import KINDS, ExternalReward
from rewards.external.registry import external_fingerprint, is_external, open_external

NUM_FRAMES, SIDE_PX, FPS = 17, 64, 8.0
PROMPT = "a red square moving right on a grey background"
TOLERANCE = 0.02
"""Share of the range of raw scores by which two answers of one model may differ: GPUs sum in a varying order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The answer to the probe clip.

    It has raw scores by reward key with the sizes of their ranges, the identity of the model, and the fingerprint of
    the declaration.
    """

    key: str
    kind: str
    address: str
    identity: str
    seconds: float
    scores: dict[str, float | None]
    ranges: dict[str, float]
    error: str
    declared: str


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
    names = dict(zip(declaration.reward_keys, tuple(declaration.scores) or (ONLY,), strict=True))
    maps = {
        key: declaration.scores[name].calibration if name else declaration.calibration for key, name in names.items()
    }
    return ProbeResult(
        key=declaration.key,
        kind=kind_of(declaration),
        address=address_of(declaration),
        identity=client.identity,
        seconds=seconds,
        scores={key: answer.scores[name] for key, name in names.items()} if answer.scores else {},
        ranges={key: abs(found.good - found.bad) if found else 1.0 for key, found in maps.items()},
        error=answer.error,
        declared=external_fingerprint([declaration.key]),
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


def has_changed(first: Mapping[str, Any], now: ProbeResult) -> bool:
    """Return True if an answer is of another model or declaration than `first`."""
    if (first.get("identity"), first.get("declared", now.declared)) != (now.identity, now.declared):
        return True
    scores = first.get("scores", {})
    return any(_differ(scores.get(key), value, now.ranges[key]) for key, value in now.scores.items())


def _differ(first: float | None, now: float | None, size: float) -> bool:
    if first is None or now is None:
        return first is not now
    return abs(first - now) > TOLERANCE * size
