"""Where keyframes and windows lie in a clip, and plans that cannot be followed. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from engine.errors import ConfigError
from engine.model_spec import FamilySpec
from engine.request import GenerationRequest, KeyframePlan, WindowPlan

ANY_LENGTH = frozenset({"windows"})  # modes in which a clip may have any number of frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Frames `start` to `stop` (exclusive) are made together; the first `given` of them are there already."""

    start: int
    stop: int
    given: int


def keyframe_plan(request: GenerationRequest) -> KeyframePlan:
    return request.keyframes or KeyframePlan()


def window_plan(request: GenerationRequest) -> WindowPlan:
    return request.windows or WindowPlan()


def keyframe_places(request: GenerationRequest) -> tuple[int, ...]:
    """The frames that are keyframes, rising: every `interval`, the last one, and those that are given."""
    plan = keyframe_plan(request)
    given = {keyframe.frame for keyframe in plan.given}
    if plan.source == "given":
        return tuple(sorted(given))
    return tuple(sorted({*range(0, request.num_frames, plan.interval), request.num_frames - 1, *given}))


def is_continued(spec: FamilySpec) -> bool:
    """Whether a window of the family begins with given frames; otherwise windows are blended while denoising."""
    return "frames" in spec.native_conditioning


def requires_end_frames(spec: FamilySpec) -> bool:
    """Whether the family makes only what lies between two given pictures."""
    return "ends" in spec.native_conditioning


def longest_piece(request: GenerationRequest, spec: FamilySpec) -> int:
    """Frames of the longest part of a clip that is not made in windows: the whole, or the longest stretch."""
    places = keyframe_places(request) if requires_end_frames(spec) else ()
    return max((stop - start + 1 for start, stop in pairwise(places)), default=request.num_frames)


def continued_windows(request: GenerationRequest, spec: FamilySpec) -> list[Window]:
    """Windows of which each begins with the last frames of the one before, all of lengths that the family can make.

    The last one is as short as it can be: it ends at or just after the clip's last frame, and what is over is cut off.
    """
    plan, total = window_plan(request), request.num_frames
    length = spec.nearest_frames(plan.length)
    overlap = min(spec.nearest_frames(plan.overlap), length - spec.frame_stride)
    windows = [Window(start=0, stop=min(length, at_least(spec, total)), given=0)]
    while windows[-1].stop < total:
        start = windows[-1].stop - overlap
        stop = start + min(length, at_least(spec, total - start))
        windows.append(Window(start=start, stop=stop, given=overlap))
    return windows


def blended_windows(total: int, length: int, overlap: int) -> list[tuple[int, int]]:
    """`[start, stop)` of windows over `total` latent frames, the overlaps at least `overlap` and as even as can be."""
    if total <= length:
        return [(0, total)]
    count = -(-(total - overlap) // (length - overlap))
    starts = [round(index * (total - length) / (count - 1)) for index in range(count)]
    return [(start, start + length) for start in starts]


def check_plan(request: GenerationRequest, spec: FamilySpec) -> None:
    """Raises ConfigError for keyframes or windows that the request cannot have; other modes have no plan to check."""
    if request.mode in PLAN_CHECKS:
        PLAN_CHECKS[request.mode](request, spec)
    if requires_end_frames(spec):
        _check_stretches(request, spec)


def _check_keyframes(request: GenerationRequest, spec: FamilySpec) -> None:
    plan, last = keyframe_plan(request), request.num_frames - 1
    if last < 1:
        raise ConfigError("A clip of 1 frame has nothing between its keyframes: ask for more frames, or mode 'direct'.")
    if plan.interval > last and plan.source != "given":
        raise ConfigError(
            f"The keyframe interval of {plan.interval} is longer than the clip of {request.num_frames} frames: use "
            f"{last} or less."
        )
    frames = sorted(keyframe.frame for keyframe in plan.given)
    if frames and frames[-1] > last:
        raise ConfigError(f"A keyframe is given at frame {frames[-1]}, but the clip's last frame is {last}: move it.")
    if any(first == second for first, second in pairwise(frames)):
        raise ConfigError("Two keyframes are given at one frame: keep one of them.")
    if plan.drafts > 1 and plan.source == "joint" and not plan.choose_by:
        raise ConfigError(f"Of {plan.drafts} drafts one must be chosen: say by which mix of rewards (choose_by).")
    if plan.source == "given" and not frames:
        raise ConfigError("The keyframes are to be given, but none is: give at least one, or choose source 'joint'.")


def _check_stretches(request: GenerationRequest, spec: FamilySpec) -> None:
    """Keyframes at both ends of the clip and, between neighbours, lengths that the family can make."""
    if request.mode != "keyframes" or keyframe_plan(request).source != "given":
        raise ConfigError(
            f"{spec.title} makes only what lies between given pictures: use mode 'keyframes' with source 'given'."
        )
    places, last = keyframe_places(request), request.num_frames - 1
    if not {0, last} <= set(places):
        raise ConfigError(f"{spec.title} needs keyframes at the first and the last frame: give them at 0 and {last}.")
    for start, stop in pairwise(places):
        if not spec.allows_frames(stop - start + 1):
            nearest = spec.nearest_frames(stop - start + 1)
            raise ConfigError(
                f"{spec.title} cannot make the {stop - start + 1} frames from the keyframe at {start} to the one at "
                f"{stop}: the nearest is {nearest}, so move one of the two."
            )


def _check_windows(request: GenerationRequest, spec: FamilySpec) -> None:
    plan = window_plan(request)
    if plan.overlap >= plan.length:
        raise ConfigError(
            f"Windows of {plan.length} frames cannot overlap by {plan.overlap}: use at most {plan.length // 2}."
        )
    if is_continued(spec) and spec.nearest_frames(plan.overlap) >= spec.nearest_frames(plan.length):
        shortest = spec.nearest_frames(plan.overlap) + spec.frame_stride
        raise ConfigError(
            f"{spec.title} cannot make windows of {plan.length} frames with {plan.overlap} overlap: use a length of "
            f"at least {shortest}."
        )


def at_least(spec: FamilySpec, num_frames: int) -> int:
    """The shortest clip of at least so many frames that the family can make."""
    nearest = spec.nearest_frames(num_frames)
    return nearest if nearest >= num_frames else nearest + spec.frame_stride


PLAN_CHECKS: dict[str, Callable[[GenerationRequest, FamilySpec], None]] = {
    "keyframes": _check_keyframes,
    "windows": _check_windows,
}
