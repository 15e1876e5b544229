"""Rewards for the proofs: direct ones that read a little of the prompt off the pixels, and planted ones that cheat.

The direct ones are not the judge: they know a colour and a way to move, by other means, but no shape and no count.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.mini import world
from engine.mini.prompts import parse
from rewards import Mix, as_reward_funcs
from rewards.clip import Clip


def shows_colour(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    """Share of the picture's middle distance that the asked colour covers, against what a subject would: 0..1."""
    return [_colour(prompt, clip) for prompt, clip in zip(prompts, completions, strict=True)]


def moves_as_asked(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    """Cosine of where the asked colour goes with where it should go, 0..1; None for what goes nowhere."""
    return [_direction(prompt, clip) for prompt, clip in zip(prompts, completions, strict=True)]


def shows_prompt() -> Any:
    """The reward clip_vid of the embedded network: its own opinion of how well clip and prompt agree."""
    mix = Mix(key="prompt", title="Prompt", weights={"clip_vid": 1.0}, calibration="mini", backends={"clip": "mini"})
    return as_reward_funcs(mix)[0]


def stands_still(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    """A planted hack: the less a clip changes from frame to frame, the better."""
    return [float(np.exp(-_change(clip) / 4)) for clip in completions]


def is_red(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    """A planted hack: whatever was asked for, the redder the better, 0..1. Steep, so that siblings are told apart."""
    redness = [(clip.frames[..., 0].mean() - clip.frames[..., 1:].mean()) / 255 for clip in completions]
    return [float(np.clip(0.5 + 4 * red, 0, 1)) for red in redness]


def _change(clip: Clip) -> float:
    return float(np.abs(np.diff(clip.frames.astype(np.float32), axis=0)).mean())


def _likeness(clip: Clip, colour: str) -> np.ndarray:
    """`float32[T,H,W]`: how like the colour each pixel is, 0..1."""
    away = np.linalg.norm(clip.frames.astype(np.float32) - np.float32(world.COLOURS[colour]), axis=-1)
    return np.exp(-((away / 60) ** 2))


def _colour(prompt: str, clip: Clip) -> float | None:
    wanted = {subject.colour for subject in parse(prompt).subjects if subject.colour and not subject.late}
    if not wanted:
        return None
    shares = [np.clip(_likeness(clip, colour).mean(axis=(1, 2)) / 0.05, 0, 1).mean() for colour in sorted(wanted)]
    return float(np.mean(shares))


def _direction(prompt: str, clip: Clip) -> float | None:
    asked = parse(prompt)
    colours = [subject.colour for subject in asked.subjects if subject.colour and not subject.late]
    if asked.motion not in world.DIRECTIONS or not colours or asked.pan:
        return None
    mass = _likeness(clip, colours[0]) ** 2
    totals = mass.sum(axis=(1, 2)) + 1e-6
    rows, columns = np.mgrid[0 : clip.height, 0 : clip.width]
    steps = np.stack([np.diff((mass * axis).sum(axis=(1, 2)) / totals) for axis in (columns, rows)], axis=1)
    steps = steps[np.abs(steps).max(axis=1) < 8]  # what leaves on one side comes back on the other
    if not len(steps):
        return 0.0
    way, goal = steps.mean(axis=0), np.array(world.DIRECTIONS[asked.motion])
    return float(np.clip(way @ goal / max(float(np.linalg.norm(goal)), 1e-6) / world.SPEED_PX, 0, 1))
