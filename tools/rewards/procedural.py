"""Procedural clips: textured and flat polygons in smooth motion over a textured or flat background.

They replace real films in scripts that must run without downloads. Source: the "dead leaves" model of natural images
(Lee, Mumford & Huang 2001, doi:10.1023/A:1011109015675).
"""

import cv2
import numpy as np


def draw_clip(rng: np.random.Generator, num_frames: int, size_px: int) -> np.ndarray:
    """Draw `uint8[T,size,size,3]`: 1 to 8 moving polygons, a drifting background, noise of up to 3 levels."""
    ground = _texture(rng, size_px * 3)
    drift = _path(rng, num_frames, reach=size_px * rng.choice([0.0, 0.3, 0.8]))
    leaves = [_Leaf(rng, num_frames, size_px) for _ in range(int(rng.integers(1, 9)))]
    grain = float(rng.choice([0.0, 1.0, 3.0]))
    frames = []
    for t in range(num_frames):
        frame = _shifted(ground, drift[t], size_px)
        for leaf in leaves:
            leaf.paint(frame, t)
        frames.append(np.clip(np.rint(frame + rng.normal(0, grain, frame.shape)), 0, 255).astype(np.uint8))
    return np.stack(frames)


class _Leaf:
    """One polygon with a texture that moves and turns with it."""

    def __init__(self, rng: np.random.Generator, num_frames: int, size_px: int) -> None:
        corners = int(rng.integers(3, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(0.08, 0.3) * size_px
        self._outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius * rng.uniform(0.6, 1, (corners, 1))
        self._path = rng.uniform(0, size_px, 2) + _path(rng, num_frames, reach=size_px * rng.uniform(0, 0.8))
        self._turn = _path(rng, num_frames, reach=rng.choice([0.0, 1.5]))[:, 0]
        self._texture = _texture(rng, size_px)

    def paint(self, frame: np.ndarray, t: int) -> None:
        size = frame.shape[0]
        cosine, sine = np.cos(self._turn[t]), np.sin(self._turn[t])
        turn = np.array([[cosine, -sine], [sine, cosine]])
        mask = np.zeros((size, size), np.uint8)
        corners = np.rint((self._outline @ turn.T + self._path[t]) * 16).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, shift=4)
        move = np.concatenate([turn, (self._path[t] - turn @ (size / 2, size / 2))[:, None]], axis=1)
        skin = cv2.warpAffine(self._texture, move, (size, size), borderMode=cv2.BORDER_REFLECT)
        alpha = mask[..., None].astype(np.float32) / 255
        frame[:] = frame * (1 - alpha) + skin * alpha


def _path(rng: np.random.Generator, num_frames: int, reach: float) -> np.ndarray:
    """Draw a path `float64[T,2]`: a straight line plus two slow waves, scaled by `reach`."""
    t = np.linspace(0, 1, num_frames)[:, None]
    waves = sum(rng.uniform(-0.3, 0.3, 2) * np.sin(2 * np.pi * (rng.uniform(0.3, 2) * t + rng.random())) for _ in "ab")
    return np.asarray(reach * (rng.uniform(-1, 1, 2) * t + waves))


def _texture(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Draw `float32[size,size,3]`: one colour, with or without a pattern of random scale."""
    colour = rng.uniform(20, 235, 3)
    strength = float(rng.choice([0.0, 25.0, 60.0]))
    pattern = cv2.GaussianBlur(rng.standard_normal((size_px, size_px, 1)).astype(np.float32), (0, 0), rng.uniform(1, 6))
    pattern /= max(float(pattern.std()), 1e-6)
    return np.asarray(np.clip(colour + strength * pattern[..., None], 0, 255), np.float32)


def _shifted(ground: np.ndarray, move: np.ndarray, size_px: int) -> np.ndarray:
    offset = np.array([[1, 0, -size_px - move[0]], [0, 1, -size_px - move[1]]])
    return cv2.warpAffine(ground, offset, (size_px, size_px), borderMode=cv2.BORDER_REFLECT)
