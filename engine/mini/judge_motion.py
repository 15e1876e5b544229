"""The motion of a track, and a test for loops.

Velocities are px per frame, fits 0..1. A fit is 1 for a track that moves as the world draws that motion, and 0 for a
track without it.
"""

import numpy as np

from engine.mini import world
from engine.mini.judge_tracks import SubjectTrack, best_of, hue_gap, ramp

LAG = 2  # frames between the two ends of a velocity
MAX_STEP_PX = 16.0  # a longer step in LAG frames is a jump, or a wrap round the edge
MIN_FIT = 0.25  # below, the motion is None
MIN_WINDOW_FIT = 0.35  # a motion with at least this fit in a window of time is present there
MIN_HOLD = 0.65  # share of the windows in which a motion must be present
WINDOW_FRAMES = 15  # velocities per window: 17 frames are one window, 33 are two
LOOP_RETURN_PX = 2.5  # a loop comes back to within this distance


def motion_of(track: SubjectTrack) -> tuple[str | None, dict[str, float]]:
    """Return the motion that continues throughout, and the fit of each motion to the track.

    A fit is that of the whole track, times the share of windows of about 16 frames in which the motion continues: a
    subject that freezes or vanishes halfway has half of it. Growing ends by itself, so only the whole track counts.
    """
    velocity, weight = _velocities(track)
    resized = ramp(_size_change(track), 0.08, 0.32)
    whole = _motion_fit(velocity, weight, resized)
    whole["grow"] *= _smoothness(np.sqrt(track.area[track.present]))
    holds = _holds(velocity, weight, _vanished(track)[LAG:], resized) | {"grow": 1.0}
    motion = best_of(whole, MIN_FIT)
    return (motion if motion and holds[motion] >= MIN_HOLD else None), {n: whole[n] * holds[n] for n in whole}


def _holds(velocity: np.ndarray, weight: np.ndarray, gone: np.ndarray, resized: float) -> dict[str, float]:
    """Return the share of the time windows in which each motion is present.

    Windows in which the subject is mostly outside the picture are left out.
    """
    parts = (np.array_split(values, max(1, len(velocity) // WINDOW_FRAMES)) for values in (velocity, weight, gone))
    windows = list(zip(*parts, strict=True))
    judged = [(v, w) for v, w, out in windows if w.sum(axis=0).min(initial=np.inf) >= 1 or out.sum() > len(out) / 2]
    fits = [_motion_fit(v, w, resized) for v, w in judged]
    return {name: sum(fit[name] >= MIN_WINDOW_FIT for fit in fits) / max(1, len(fits)) for name in world.MOTIONS}


def _vanished(track: SubjectTrack) -> np.ndarray:
    """Return `bool[T]`: not visible, although it did not leave over the picture's edge."""
    last_seen = np.maximum.accumulate(np.where(track.present, np.arange(len(track.present)), 0))
    return ~(track.present | track.cut[last_seen].any(axis=(1, 2)))


def _motion_fit(velocity: np.ndarray, weight: np.ndarray, resized: float) -> dict[str, float]:
    """Return the fit of each motion to velocities `float[N,2]` with weights `float[N,2]`.

    direction   the mean velocity holds most of the velocity's energy, and points there
    bounce      the energy is in vertical swings, both up and down, each over several frames
    circle      the energy is shared by both axes, and the velocity keeps turning the same way
    grow/still  it stays in place; its size changes (`resized` 0..1) or does not
    """
    if (weight.sum(axis=0) < 1.0).any():
        return dict.fromkeys(world.MOTIONS, 0.0)
    mean = (velocity * weight).sum(axis=0) / weight.sum(axis=0)
    swing = np.sqrt(((velocity - mean) ** 2 * weight).sum(axis=0) / weight.sum(axis=0))
    energy = float((mean**2).sum() + (swing**2).sum())
    moving = ramp(float(np.sqrt(energy)), 0.15, 0.75)
    fits = _direction_fits(mean, energy)
    fits["bounce"] = _bounce_fit(velocity[:, 1], weight[:, 1], mean, swing)
    fits["circle"] = _circle_fit(velocity, weight, swing)
    fits["grow"] = (1 - moving) * resized
    fits["still"] = (1 - moving) * (1 - resized)
    return fits


def _velocities(track: SubjectTrack) -> tuple[np.ndarray, np.ndarray]:
    """Return the velocity and its weight 0..1, `float[T-LAG,2]`.

    The velocity is that of the centre where the subject is whole, else that of the visible edges.
    """
    if len(track.area) <= LAG:
        return np.zeros((0, 2)), np.zeros((0, 2))
    seen = track.present[LAG:] & track.present[:-LAG]
    cut = (track.cut[LAG:] | track.cut[:-LAG]) & seen[:, None, None]
    cut_low, cut_high = cut[..., 0], cut[..., 1]
    low, high, centre = (edge[LAG:] - edge[:-LAG] for edge in (track.low, track.high, track.centre))
    step = np.where(cut_low, high, np.where(cut_high, low, centre))
    weight = np.where(cut_low & cut_high, 0.0, np.where(cut_low | cut_high, 0.5, 1.0))
    # A shape that is cut at the left or right shows its top late, so its height is unreliable, and vice versa.
    weight = weight * np.where((cut_low | cut_high)[:, ::-1], 0.4, 1.0)
    weight = np.where(seen[:, None] & (np.abs(step) < MAX_STEP_PX), weight, 0.0)
    return step / LAG, weight


def _direction_fits(mean: np.ndarray, energy: float) -> dict[str, float]:
    speed = float(np.hypot(*mean))
    straight = speed**2 / max(energy, 1e-6) * ramp(speed, 0.15, 0.75)
    angle = np.degrees(np.arctan2(mean[1], mean[0]))
    aims = {name: np.degrees(np.arctan2(dy, dx)) for name, (dx, dy) in world.DIRECTIONS.items()}
    return {name: straight * ramp(float(hue_gap(angle, aim)), 45, 5) for name, aim in aims.items()}


def _bounce_fit(vertical: np.ndarray, weight: np.ndarray, mean: np.ndarray, swing: np.ndarray) -> float:
    share = swing[1] ** 2 / max(float((swing**2).sum() + mean[1] ** 2), 1e-6)
    total = max(float(weight.sum()), 1e-6)
    turns = min(float(weight[vertical > 0.4].sum()), float(weight[vertical < -0.4].sum())) / total
    lasting = ramp(_persistence(vertical[:, None], weight[:, None]), 0.1, 0.4)
    return float(share) * ramp(float(swing[1]), 0.4, 1.2) * ramp(turns, 0.05, 0.25) * lasting


def _circle_fit(velocity: np.ndarray, weight: np.ndarray, swing: np.ndarray) -> float:
    both = weight[1:].min(axis=1) * weight[:-1].min(axis=1)
    turn = (velocity[:-1, 0] * velocity[1:, 1] - velocity[:-1, 1] * velocity[1:, 0]) * both
    one_way = abs(float(turn.sum())) / max(float(np.abs(turn).sum()), 1e-6)
    round_ = float(swing.min() / max(swing.max(), 1e-6))
    lasting = ramp(_persistence(velocity, weight), 0.1, 0.4) * ramp(one_way, 0.3, 0.8)
    return lasting * ramp(round_, 0.15, 0.6) * ramp(float(swing.min()), 0.3, 1.0)


def _persistence(velocity: np.ndarray, weight: np.ndarray) -> float:
    """Return the autocorrelation of velocities `float[N,D]` at lag 1: 1 when steady, near 0 for jumps."""
    products = (velocity[1:] * velocity[:-1] * weight[1:] * weight[:-1]).sum()
    return float(products) / max(float((velocity**2 * weight**2).sum()), 1e-6)


def _smoothness(values: np.ndarray) -> float:
    """Return 1 for smooth values and 0 for noise, by von Neumann's ratio (2 for noise)."""
    ratio = float((np.diff(values) ** 2).mean() / max(float(values.var()), 1e-6)) if len(values) > 2 else 2.0
    return ramp(ratio, 1.6, 0.8)


def _size_change(track: SubjectTrack) -> float:
    """Return the spread of the log of its size over the visible frames: 0.66 for the world's "growing"."""
    sizes = 0.5 * np.log(np.maximum(track.area[track.present], 1.0))
    return float(np.percentile(sizes, 95) - np.percentile(sizes, 5)) if sizes.size else 0.0


def loop_fit(tracks: list[SubjectTrack], num_frames: int) -> float | None:
    """Return the degree, 0..1, to which all subjects are back at their place after `LOOP_FRAMES`.

    None when the clip is shorter.
    """
    if num_frames <= world.LOOP_FRAMES:
        return None
    return min((_return_fit(track) for track in tracks), default=0.0)


def _return_fit(track: SubjectTrack) -> float:
    lag = world.LOOP_FRAMES
    both = track.whole[lag:] & track.whole[:-lag]
    if both.mean() < 0.5:
        return 0.0
    # Centre and radius together are a point in px; a loop moves this point and brings it back.
    point = np.column_stack([track.centre, np.sqrt(track.area / np.pi)])
    away = float(np.percentile(np.linalg.norm(point[lag:] - point[:-lag], axis=1)[both], 90))
    spread = float(np.ptp(point[track.whole], axis=0).max())
    return ramp(away, 2 * LOOP_RETURN_PX, 0) * ramp(away / max(spread, 1e-6), 0.75, 0.25) * ramp(spread, 1, 3)
