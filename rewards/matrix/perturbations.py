"""Perturbations: known damage that the reward matrix and the calibration apply to good clips.

Every perturbation is a pure function `uint8[T,H,W,3] -> uint8[T',H,W,3]`, deterministic for a seed. Lengths are shares
of the short side, so that one strength looks the same at 64 px and at 4K; `strength` scales them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.matrix import attacks

Frames = np.ndarray
REPEAT_FRAMES = 16


def frozen(frames: Frames) -> Frames:
    """Repeat the middle frame for the whole length."""
    return np.repeat(frames[len(frames) // 2][None], len(frames), axis=0)


def jitter(frames: Frames, strength: float = 1.0, seed: int = 0) -> Frames:
    """Shift every frame as a whole by up to 4 px of 256 each way, independently of its neighbours."""
    reach = 4 / 256 * _short_side(frames) * strength
    shifts = np.random.default_rng(seed).uniform(-reach, reach, (len(frames), 2))
    return np.stack([_shift(f, dx, dy) for f, (dx, dy) in zip(frames, shifts, strict=True)])


def wobble(frames: Frames, strength: float = 1.0, seed: int = 0) -> Frames:
    """Bend every frame by its own smooth random field with 3 px of 256 standard deviation."""
    rng = np.random.default_rng(seed)
    height, width = frames.shape[1:3]
    short = _short_side(frames)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    bent = []
    for frame in frames:
        field = rng.standard_normal((2, height, width)).astype(np.float32)
        field = np.stack([cv2.GaussianBlur(f, (0, 0), short * 10 / 256) for f in field])
        dx, dy = field * (3 / 256 * short * strength / max(float(field.std()), 1e-9))
        bent.append(cv2.remap(frame, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return np.stack(bent)


def flicker(frames: Frames, strength: float = 1.0, seed: int = 0) -> Frames:
    """Multiply every frame by a random gain of up to 15 % each way."""
    gains = 1 + np.random.default_rng(seed).uniform(-0.15, 0.15, len(frames)) * strength
    return _to_uint8(frames * gains[:, None, None, None])


def noise(frames: Frames, strength: float = 1.0, seed: int = 0) -> Frames:
    """Add Gaussian noise, sigma 15 of 255, independent in every frame."""
    rng = np.random.default_rng(seed)
    return np.stack([_to_uint8(f + rng.normal(0, 15 * strength, f.shape)) for f in frames])


def pure_noise(frames: Frames, seed: int = 0) -> Frames:
    """Replace the clip by independent uniform noise."""
    return np.random.default_rng(seed).integers(0, 256, frames.shape, dtype=np.uint8)


def blur(frames: Frames, strength: float = 1.0) -> Frames:
    """Blur by a Gaussian, sigma 3 px of 256 and at least 1.5 px (less hardly blurs a 64 px picture)."""
    sigma = max(3 / 256 * _short_side(frames), 1.5) * strength
    return np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in frames])


def repeat(frames: Frames, period: int = REPEAT_FRAMES) -> Frames:
    """Repeat the first `period` frames."""
    return frames[np.arange(len(frames)) % period]


def ping_pong(frames: Frames, period: int = REPEAT_FRAMES) -> Frames:
    """Play the first `period` frames forward, backward, forward, ..."""
    turn = 2 * (period - 1)
    phase = np.arange(len(frames)) % turn
    return frames[np.minimum(phase, turn - phase)]


def reverse(frames: Frames) -> Frames:
    """Play the clip backward."""
    return frames[::-1].copy()


def shuffle(frames: Frames, seed: int = 0) -> Frames:
    """Put all frames in random order."""
    return frames[np.random.default_rng(seed).permutation(len(frames))]


def cut_to(frames: Frames, other: Frames, at: int | None = None) -> Frames:
    """Cut to another clip at frame `at` (by default the middle), resized to this one."""
    at = len(frames) // 2 if at is None else at
    height, width = frames.shape[1:3]
    if len(other) < len(frames) - at:
        raise RewardError(
            f"A cut at frame {at} needs {len(frames) - at} frames of the other clip, but it has {len(other)}."
        )
    tail = [cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in other[: len(frames) - at]]
    return np.concatenate([frames[:at], np.stack(tail)])


def to_the_edge(frames: Frames, share: float = 0.3) -> Frames:
    """Move the picture sideways by `share` of its width; the border is replicated."""
    return np.stack([_shift(f, share * f.shape[1], 0.0) for f in frames])


def rolling(frames: Frames, degrees: float = 12.0) -> Frames:
    """Roll the camera from `-degrees` to `degrees` over the clip, enlarged so that no border shows."""
    height, width = frames.shape[1:3]
    zoom = 1 + np.sin(np.radians(degrees)) * max(width / height, height / width)
    angles = np.linspace(-degrees, degrees, len(frames))
    turns = [cv2.getRotationMatrix2D((width / 2, height / 2), float(a), float(zoom)) for a in angles]
    turned = [
        cv2.warpAffine(f, m, (width, height), borderMode=cv2.BORDER_REPLICATE)
        for f, m in zip(frames, turns, strict=True)
    ]
    return np.stack(turned)


def flip(frames: Frames) -> Frames:
    """Mirror the clip left to right."""
    return frames[:, :, ::-1].copy()


def double_rate(frames: Frames) -> Frames:
    """Repeat every frame (to be shown at twice the frame rate)."""
    return np.repeat(frames, 2, axis=0)


def grey(frames: Frames) -> Frames:
    """Replace the clip by uniform grey."""
    return np.full_like(frames, 128)


def unchanged(frames: Frames) -> Frames:
    """Return the frames as they are, where only the prompt is damaged."""
    return frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation:
    """A perturbation: `apply(frames, other)` damages the frames, `rate` multiplies the fps.

    `prompt`: the prompt is that of the other clip; `painted`: the clip's own is painted into the frames. `second` is
    the kind of other clip: "clip" is any other, "subject" the same scene with another subject.
    """

    key: str
    title: str
    apply: Callable[[Frames, Frames], Frames]
    rate: float = 1.0
    prompt: bool = False
    painted: bool = False
    second: Literal["clip", "subject"] = "clip"

    def damage(self, clip: Clip, other: Clip) -> Clip:
        """Return the damaged clip; its seams stay at the same time, and its first picture stays as it is."""
        frames = np.ascontiguousarray(self.apply(clip.frames, other.frames))
        if self.painted:
            frames = attacks.painted(frames, clip.prompt)
        seams = tuple(round(seam * self.rate) for seam in clip.seams)
        prompt = other.prompt if self.prompt else clip.prompt
        return replace(clip, frames=frames, fps=clip.fps * self.rate, prompt=prompt, seams=seams)


def _listed(key: str, title: str, apply: Callable[..., Frames], rate: float = 1.0, **options: float) -> Perturbation:
    return Perturbation(key=key, title=title, apply=lambda frames, _other: apply(frames, **options), rate=rate)


def _cut_late(frames: Frames, other: Frames) -> Frames:
    return cut_to(frames, other, at=3 * len(frames) // 4)


ALL = (
    _listed("frozen", "one frame for the whole length", frozen),
    _listed("jitter", "the whole picture shakes by 4 px of 256", jitter),
    _listed("wobble", "the picture bends locally by 3 px of 256", wobble),
    _listed("flicker", "brightness flickers by 15 %", flicker),
    _listed("noise", "noise of sigma 15", noise),
    _listed("pure_noise", "noise only", pure_noise),
    _listed("blur", "blurred by 3 px of 256 (at least 1.5 px)", blur),
    _listed("repeat", "the first 16 frames repeated", repeat),
    _listed("ping_pong", "the first 16 frames back and forth", ping_pong),
    _listed("reverse", "played backward", reverse),
    _listed("shuffle", "frames in random order", shuffle),
    Perturbation(
        key="other_subject", title="another subject from the middle to the end", apply=cut_to, second="subject"
    ),
    Perturbation(key="cut", title="a hard cut to another clip in the middle", apply=cut_to),
    Perturbation(key="cut_elsewhere", title="a hard cut to another clip at three quarters", apply=_cut_late),
    Perturbation(
        key="wrong_prompt", title="the prompt of another clip", apply=lambda frames, _: unchanged(frames), prompt=True
    ),
    _listed("to_the_edge", "the subject moved to the edge", to_the_edge),
    _listed("rolling", "the camera rolls", rolling),
    _listed("flip", "mirrored left to right", flip),
    _listed("double_rate", "every frame twice, at twice the rate", double_rate, rate=2.0),
    _listed("grey", "uniform grey", grey),
    _listed("gliding_patch", "one frame with a flat patch gliding over it", attacks.gliding_patch),
    _listed("slow_zoom", "one frame, slowly enlarged", attacks.slow_zoom),
    _listed("slow_pan", "one frame, enlarged and slowly panned", attacks.slow_pan),
    _listed("sliding_cutout", "a cut-out of one frame sliding over the same frame", attacks.sliding_cutout),
    _listed("cross_fade", "the first frame fading into the last", attacks.cross_fade),
    _listed("mostly_frozen", "all frozen except 30 % of the area", attacks.mostly_frozen),
    _listed("oversharpened", "edges and colours exaggerated", attacks.oversharpened),
    _listed("saturated", "colours exaggerated", attacks.oversharpened, amount=0.0),
    _listed("texture_scroll", "tiles of one frame, scrolling", attacks.texture_scroll),
    _listed("frozen_subject", "the middle of the picture frozen, the rest as it was", attacks.frozen_subject),
    _listed("slow_ping_pong", "the first quarter at half speed, forth and back", attacks.slow_ping_pong),
    _listed("tiled", "the clip four times in one picture", attacks.tiled),
    Perturbation(
        key="painted_prompt",
        title="the prompt painted into the picture",
        apply=lambda frames, _: unchanged(frames),
        painted=True,
    ),
    _listed("vignette", "the corners darkened by half", attacks.vignette),
    _listed("faint_noise", "noise of sigma 2", noise, strength=2 / 15),
    _listed("faint_flicker", "brightness flickers by 3 %", flicker, strength=0.2),
)
PERTURBATIONS = {p.key: p for p in ALL}


def _short_side(frames: Frames) -> int:
    return min(frames.shape[1:3])


def _shift(frame: np.ndarray, dx: float, dy: float) -> np.ndarray:
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(frame, move, frame.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
