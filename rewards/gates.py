"""Gates against reward hacking: standing still, moving a still picture, blur, hard cuts, loops.

A gate is 1 for a clip without the fault and falls smoothly to 0. Stability rewards multiply their value by the motion
gate themselves, because a frozen clip is perfectly stable and worthless. A mix multiplies its total by all gates, each
with the strength that its preset sets. A prompt for a still picture opens the motion and the liveness gate, a prompt
for a loop opens the loop gate (rewards/prompt_intent.py).

    motion      share of time in which the fastest 5 % move: VBench's dynamic_degree (arXiv:2311.17982) made continuous
    liveness    motion other than that of the camera and of one rigid piece (rewards/vision/liveness.py), and change
                other than a cross-fade (rewards/vision/fades.py)
    sharpness   the share of the edges that a small blur removes (Crete et al. 2007, doi:10.1117/12.702790), and
                exaggerated edges and colours
    cut         the worst step that flow cannot explain and that stands out from the rest and from its neighbours
    loop        the same pictures again, in time (rewards/vision/repetition.py) or side by side
                (rewards/vision/copies.py): without it, repeating a good part would pay
"""

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from rewards.features import ClipFeatures
from rewards.prompt_intent import PromptIntent, read_intent
from rewards.time_series import smoothstep, smoothstep_value
from rewards.vision.copies import copied_share
from rewards.vision.fades import mixture_share
from rewards.vision.flow import contrast_axis, to_gray
from rewards.vision.liveness import measure_liveness
from rewards.vision.repetition import LEAST_FRAMES, REPEATS, find_repetition

SPEED_PX_S = (4.0, 24.0)  # px of 256 a second: nothing moves .. moves (VBench's own threshold is 48, a yes or no)
MOVING_SHARE = 0.5  # moving half of the time is moving
SHARPNESS = (0.08, 0.30)  # measured: real 0.40..0.65, blurred by 3 px of 256 0.03..0.09, rendered shapes 0.35..0.55
SHARPNESS_PX = 256  # larger pictures are reduced to this short side first; none is enlarged
CUT_UNEXPLAINED = (0.70, 0.95)
CUT_PROMINENCE = (0.15, 0.35)
FOLLOWABLE_SHARE = (0.20, 0.35)  # of the picture: flat shapes on a plain ground stay under 0.19, films above 0.5
MIXTURE_SHARE = (0.90, 0.97)  # tuning clips and rendered ones up to 0.8, their cross-fades 0.98 to 1
COPIES = (0.60, 0.85)  # tuning clips up to 0.08, rendered ones 0.34; four times in one picture 0.92 and more
FLAT_LOOP = 0.5  # of the gate: the share that a repetition of flat shapes takes
EXAGGERATION = (4.0, 12.0)  # films 0.5..3.9; the same sharpened by an unsharp mask of 2 and saturated by 1.7: 2.7..43
CLIPPED_WEIGHT = 10.0
CLIPPED_LEVELS = 2
LEAST_MOTION = 0.05  # of the motion gate: below it the clip is still, and repetition has no meaning
EDGE_LEVELS = 1.0  # mean gradient under which a picture has no edges to judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """The gates of a clip, each in 0..1; 1 leaves the total unchanged."""

    motion: float
    liveness: float
    sharpness: float
    cut: float
    loop: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def measure_gates(features: ClipFeatures) -> Gates:
    """Return all gates of one clip."""
    return Gates(
        motion=motion_gate(features),
        liveness=liveness_gate(features),
        sharpness=sharpness_gate(features),
        cut=cut_gate(features),
        loop=loop_gate(features),
    )


def motion_gate(features: ClipFeatures) -> float:
    """Return 1 when the clip moves half of the time or its prompt asks for a still, 0 when it is frozen."""
    return 1.0 if prompt_intent(features).still else motion(features)


def prompt_intent(features: ClipFeatures) -> PromptIntent:
    """Return the requests of the clip's prompt, by the grammar of its calibration's domain."""
    return read_intent(features.clip.prompt, features.calibration.name)


def motion(features: ClipFeatures) -> float:
    """Return the motion gate without regard to the prompt. A clip of one frame does not move."""
    if not len(features.speed):
        return 0.0
    return min(1.0, float(smoothstep(features.speed, *SPEED_PX_S).mean()) / MOVING_SHARE)


def liveness_gate(features: ClipFeatures) -> float:
    """Return 0 for a still picture that is panned, zoomed, faded, or moved in one piece, 1 for a scene.

    The gate is also 1 where the prompt asks for a still picture and for a clip that is too short to measure. Where too
    little texture can be followed (flat shapes), only a cross-fade lowers it.
    """
    if prompt_intent(features).still:
        return 1.0
    unmixed = 1 - smoothstep_value(mixture_share(features), *MIXTURE_SHARE)
    known = smoothstep_value(features.followable_share, *FOLLOWABLE_SHARE)
    found = measure_liveness(features) if known > 0 else None
    return unmixed if found is None else unmixed * (1 - known * (1 - found.level))


def sharpness_gate(features: ClipFeatures) -> float:
    """Return 0 for a clip blurred by about 3 px of 256, or with far exaggerated edges and colours.

    Return 1 for a sharp clip, and where there are no edges to judge.
    """
    measured = sharpness(features)
    if measured is None:
        return 1.0
    low, high = np.log(EXAGGERATION)
    return smoothstep_value(measured, *SHARPNESS) * (
        1 - smoothstep_value(float(np.log(max(exaggeration(features), 1e-6))), low, high)
    )


def exaggeration(features: ClipFeatures) -> float:
    """Return the median of `frame_exaggeration` over up to 16 frames."""
    return features.once("exaggeration", lambda: _measure_exaggeration(features.clip.frames))


def sharpness(features: ClipFeatures) -> float | None:
    """Return the median of `frame_sharpness`, 0..1, over up to 16 frames; None without edges."""
    return features.once("sharpness", lambda: _measure_sharpness(features.clip.frames))


def cut_gate(features: ClipFeatures) -> float:
    """Return 0 when there is a hard cut anywhere in the clip, 1 when there is none."""
    series = cut_series(features)
    return 1.0 - float(series.max()) if len(series) else 1.0


def cut_series(features: ClipFeatures) -> np.ndarray:
    """Return `float64[T-1]` in 0..1: the certainty that the step from t to t+1 is a hard cut."""
    steps = features.unexplained
    if not len(steps):
        return steps
    usual = np.maximum(np.median(steps), _beside(steps))
    return smoothstep(steps, *CUT_UNEXPLAINED) * smoothstep(steps - usual, *CUT_PROMINENCE)


def _beside(steps: np.ndarray) -> np.ndarray:
    """Return, for each step, the second largest of the two steps before and the two after it.

    A large object that passes close to the camera takes three steps or more, a cut one, a stray frame two.
    """
    around = np.lib.stride_tricks.sliding_window_view(np.pad(steps, 2), 5)[:, [0, 1, 3, 4]]
    return np.asarray(np.sort(around, axis=1)[:, -2])


def loop_gate(features: ClipFeatures) -> float:
    """Return 0 when the same pictures come again in time, or side by side in one picture.

    A prompt for a loop allows it in time. Clips too short or too still are not judged in time. Flat shapes are not
    judged side by side, where two may be the same; in time they leave a gate of 0.5, because what goes round in a
    circle repeats honestly.
    """
    known = smoothstep_value(features.followable_share, *FOLLOWABLE_SHARE)
    single = 1.0 - known * smoothstep_value(copied_share(features), *COPIES) if known > 0 else 1.0
    clip = features.clip
    if clip.num_frames < LEAST_FRAMES or motion(features) < LEAST_MOTION or prompt_intent(features).loop:
        return single
    repeats = smoothstep_value(find_repetition(features).similarity, *REPEATS)
    return single * (1.0 - repeats * (FLAT_LOOP + (1 - FLAT_LOOP) * known))


def _measure_sharpness(frames: np.ndarray) -> float | None:
    known = [s for s in map(frame_sharpness, _sampled(frames)) if s is not None]
    return float(np.median(known)) if known else None


def _measure_exaggeration(frames: np.ndarray) -> float:
    return float(np.median([frame_exaggeration(frame) for frame in _sampled(frames)]))


def _sampled(frames: np.ndarray) -> np.ndarray:
    return np.asarray(frames[np.unique(np.linspace(0, len(frames) - 1, 16).astype(int))])


def frame_exaggeration(frame: np.ndarray) -> float:
    """Return the energy of 1 px details over that of 4 px forms, times 1 + 10 times the clipped share.

    The ratio is near 1 in films, because natural pictures have as much energy at every scale (Field 1987,
    doi:10.1364/JOSAA.4.002379). It is 0 without forms.
    """
    levels = contrast_picture(frame).astype(np.float32)
    one, two, four = (cv2.GaussianBlur(levels, (0, 0), sigma) for sigma in (1, 2, 4))
    forms = float((two - four).var())
    if forms < EDGE_LEVELS:
        return 0.0
    clipped = float(((frame <= CLIPPED_LEVELS) | (frame >= 255 - CLIPPED_LEVELS)).any(axis=-1).mean())
    return float((levels - one).var()) / forms * (1 + CLIPPED_WEIGHT * clipped)


def frame_sharpness(frame: np.ndarray) -> float | None:
    """Return the share of gradients that a blur of 5 px removes from `uint8[H,W,3]`; None without edges."""
    gray = contrast_picture(frame)
    levels = gray.astype(np.float32)
    before = after = 0.0
    for axis, kernel in ((0, (1, 5)), (1, (5, 1))):
        before += float((np.diff(levels, axis=axis) ** 2).sum())
        after += float((np.diff(cv2.blur(levels, kernel), axis=axis) ** 2).sum())
    if before < EDGE_LEVELS * gray.size:
        return None
    return 1.0 - float(np.sqrt(after / before))


def contrast_picture(frame: np.ndarray) -> np.ndarray:
    """Return `uint8[H,W]`, the short side at most 256 px, along the colour axis of highest contrast.

    In luma an orange shape on a grey background of the same brightness would have no edges.
    """
    scale = SHARPNESS_PX / min(frame.shape[:2])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    return np.asarray(to_gray(small[None], contrast_axis(small[None]))[0])
