"""Random damages of clips, to train the embedded video network of the rewards.

They differ in kind and strength from the perturbations of the reward matrix (rewards/matrix/perturbations.py), so
that the matrix tests the network on unseen damages.
"""

import cv2
import numpy as np

DAMAGES = ("none", "noise", "bend", "blur", "shake", "shuffle", "frozen", "cut")


def damage(kind: str, frames: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Damage `uint8[T,H,W,3]` in one of the ways of `DAMAGES`; "cut" continues with `other`."""
    return _DO[kind](frames, other, rng)


def _none(frames: np.ndarray, _other: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return frames


def _noise(frames: np.ndarray, _other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noisy = frames + rng.normal(0, np.exp(rng.uniform(np.log(4), np.log(40))), frames.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _bend(frames: np.ndarray, _other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Warp each frame by a new smooth field of displacements."""
    height, width = frames.shape[1:3]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    strength, grain = rng.uniform(0.7, 3.5), rng.uniform(3, 8)
    bent = []
    for frame in frames:
        field = rng.standard_normal((height, width, 2)).astype(np.float32)
        field = cv2.GaussianBlur(field, (0, 0), grain)
        field *= strength / max(float(field.std()), 1e-6)
        maps = columns + field[..., 0], rows + field[..., 1]
        bent.append(cv2.remap(frame, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return np.stack(bent)


def _blur(frames: np.ndarray, _other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sigma = rng.uniform(0.7, 2.5)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


def _shake(frames: np.ndarray, _other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    moves = rng.normal(0, rng.uniform(0.8, 3), (len(frames), 2)).astype(np.float32)
    size = frames.shape[2], frames.shape[1]
    return np.stack(
        [
            cv2.warpAffine(frame, np.array([[1, 0, x], [0, 1, y]]), size, borderMode=cv2.BORDER_REPLICATE)
            for frame, (x, y) in zip(frames, moves, strict=True)
        ]
    )


def _shuffle(frames: np.ndarray, _other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return frames[rng.permutation(len(frames))]


def _frozen(frames: np.ndarray, _other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Freeze the clip from a random frame on."""
    stop = int(rng.integers(len(frames) // 2))
    return frames[np.minimum(np.arange(len(frames)), stop)]


def _cut(frames: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    at = int(rng.integers(3, len(frames) - 3))
    return np.concatenate([frames[:at], other[: len(frames) - at]])


_DO = dict(zip(DAMAGES, (_none, _noise, _bend, _blur, _shake, _shuffle, _frozen, _cut), strict=True))
