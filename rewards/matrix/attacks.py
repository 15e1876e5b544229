"""Attacks: films from a still picture and similar clips that a policy could make to hack rewards.

Each is a pure function `uint8[T,H,W,3] -> uint8[T,H,W,3]` of an original clip, without randomness. Distances are in px
of 256 (shares of the short side) a frame. None may have a higher total than its original clip.
"""

import cv2
import numpy as np

Frames = np.ndarray
GLIDE_PX = 1.5 / 256  # a frame, in shares of the short side


def gliding_patch(frames: Frames, side: float = 0.2) -> Frames:
    """Let a flat square of `side` of the short side glide over the middle frame, back and forth."""
    still, short = _still(frames), min(frames.shape[1:3])
    height, width, size = *still.shape[:2], round(side * short)
    colour = 255 - still.reshape(-1, 3).mean(axis=0)
    out = np.repeat(still[None], len(frames), axis=0)
    for t, frame in enumerate(out):
        x = _to_and_fro(0.1 * width + t * GLIDE_PX * short, width - size)
        patch = np.zeros((height, width), np.float32)
        top = round(0.4 * (height - size))
        patch[top : top + size, :size] = 1
        cover = cv2.warpAffine(patch, np.array([[1, 0, x], [0, 1, 0]], np.float32), (width, height))[..., None]
        frame[:] = np.rint(frame * (1 - cover) + colour * cover)
    return out


def slow_zoom(frames: Frames, rate: float = 0.004) -> Frames:
    """Zoom into the middle frame, by `rate` a frame."""
    still = _still(frames)
    height, width = still.shape[:2]
    centre = (width / 2 - 0.5, height / 2 - 0.5)
    turns = [cv2.getRotationMatrix2D(centre, 0.0, (1 + rate) ** t) for t in range(len(frames))]
    return np.stack([_warp(still, turn) for turn in turns])


def slow_pan(frames: Frames, enlarged: float = 1.4) -> Frames:
    """Pan over the middle frame, back and forth, enlarged so that no border shows."""
    still = _still(frames)
    height, width = still.shape[:2]
    step, room = GLIDE_PX * min(height, width), (enlarged - 1) * width
    shifts = [_to_and_fro(t * step, room) for t in range(len(frames))]
    top = -(enlarged - 1) * height / 2
    return np.stack([_warp(still, np.array([[enlarged, 0, -x], [0, enlarged, top]])) for x in shifts])


def sliding_cutout(frames: Frames, size: float = 0.45) -> Frames:
    """Slide an ellipse cut out of the middle frame over the same frame."""
    still, short = _still(frames), min(frames.shape[1:3])
    height, width = still.shape[:2]
    mask = np.zeros((height, width), np.float32)
    axes = (round(size * width / 2), round(size * height / 2))
    cv2.ellipse(mask, (width // 2, height // 2), axes, 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, short / 256))[..., None]
    slides = []
    for t in range(len(frames)):
        x = _to_and_fro(t * GLIDE_PX * short, 0.25 * width)
        move = np.array([[1, 0, x], [0, 1, 0]], np.float32)
        cover = cv2.warpAffine(mask, move, (width, height))[..., None]
        slides.append(np.rint(still * (1 - cover) + _warp(still, move) * cover).astype(np.uint8))
    return np.stack(slides)


def cross_fade(frames: Frames) -> Frames:
    """Fade the first frame into the last one, without motion."""
    first, last = frames[0].astype(np.float32), frames[-1].astype(np.float32)
    shares = np.linspace(0, 1, len(frames))
    return np.stack([np.rint(first * (1 - s) + last * s).astype(np.uint8) for s in shares])


def mostly_frozen(frames: Frames, alive: float = 0.3) -> Frames:
    """Repeat the middle frame, except in a central rectangle of the share `alive` of the area."""
    height, width = frames.shape[1:3]
    share = np.sqrt(alive)
    rows, columns = (slice(round(n * (1 - share) / 2), round(n * (1 + share) / 2)) for n in (height, width))
    out = np.repeat(_still(frames)[None], len(frames), axis=0)
    out[:, rows, columns] = frames[:, rows, columns]
    return out


def oversharpened(frames: Frames, amount: float = 2.0, saturation: float = 1.7) -> Frames:
    """Exaggerate edges by an unsharp mask and colours by `saturation`; the motion is unchanged."""
    sigma = max(0.8, 1.5 / 256 * min(frames.shape[1:3]))
    return np.stack([_exaggerated(frame, sigma, amount, saturation) for frame in frames])


def _exaggerated(frame: np.ndarray, sigma: float, amount: float, saturation: float) -> np.ndarray:
    levels = frame.astype(np.float32)
    sharp = levels + amount * (levels - cv2.GaussianBlur(levels, (0, 0), sigma))
    luma = sharp @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.clip(np.rint(luma[..., None] + saturation * (sharp - luma[..., None])), 0, 255).astype(np.uint8)


def _still(frames: Frames) -> np.ndarray:
    return np.asarray(frames[len(frames) // 2])


def _to_and_fro(distance: float, room: float) -> float:
    """Return the place in 0..`room` after a path of `distance` that turns at both ends."""
    phase = distance % (2 * room) if room > 0 else 0.0
    return min(phase, 2 * room - phase)


def _warp(image: np.ndarray, move: np.ndarray) -> np.ndarray:
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.warpAffine(image, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101))
