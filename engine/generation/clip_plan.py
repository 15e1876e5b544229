"""Frame indices of keyframes and windows in a clip, and checks of a request's plan. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from engine.errors import ConfigError
from engine.family_interface import FamilySpec
from engine.request import GenerationRequest, KeyframePlan, WindowPlan

DIRECT = "direct"  # the mode without a plan
ANY_LENGTH = frozenset({"windows"})  # modes that support any number of frames
SHOWN = {"image": "first picture", "last_image": "last picture"}
PICTURES = tuple(SHOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Frames `start` to `stop` (exclusive) are generated together.

    The first `given` of them exist already.
    """

    start: int
    stop: int
    given: int


def keyframe_plan(request: GenerationRequest) -> KeyframePlan:
    return request.keyframes or KeyframePlan()


def window_plan(request: GenerationRequest) -> WindowPlan:
    return request.windows or WindowPlan()


def keyframe_places(request: GenerationRequest) -> tuple[int, ...]:
    """Return the frame indices of the keyframes, rising: every `interval`, the last frame, and given ones."""
    plan = keyframe_plan(request)
    given = {keyframe.frame for keyframe in plan.given}
    if plan.source == "given":
        return tuple(sorted(given))
    return tuple(sorted({*range(0, request.num_frames, plan.interval), request.num_frames - 1, *given}))


def is_continued(spec: FamilySpec) -> bool:
    """Return True when the family's windows begin with given frames; others are blended while denoising."""
    return "frame_sigmas" in spec.native_conditioning


def requires_end_frames(spec: FamilySpec) -> bool:
    """Return True when the family generates only frames between two given pictures."""
    return "first_last_required" in spec.native_conditioning


def longest_piece(request: GenerationRequest, spec: FamilySpec) -> int:
    """Return the number of frames generated at once without windows: the clip or its longest segment."""
    is_cut = requires_end_frames(spec) and request.mode == "keyframes"
    places = keyframe_places(request) if is_cut else ()
    return max((stop - start + 1 for start, stop in pairwise(places)), default=request.num_frames)


def continued_windows(request: GenerationRequest, spec: FamilySpec) -> list[Window]:
    """Return windows of supported lengths that each begin with the last frames of the previous one.

    The last window is as short as possible: it ends at or just after the clip's last frame, and surplus frames are
    dropped.
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
    """Return `[start, stop)` of evenly overlapping windows over `total` latent frames."""
    if total <= length:
        return [(0, total)]
    count = -(-(total - overlap) // (length - overlap))
    starts = [round(index * (total - length) / (count - 1)) for index in range(count)]
    return [(start, start + length) for start in starts]


def check_plan(request: GenerationRequest, spec: FamilySpec) -> None:
    """Check the keyframes, windows and pictures of a request.

    Raises ConfigError for impossible keyframes or windows, and for missing or unwanted first and last pictures.
    """
    _check_pictures(request, spec)
    if request.mode in PLAN_CHECKS:
        PLAN_CHECKS[request.mode](request, spec)
    if requires_end_frames(spec) and request.mode != DIRECT:
        _check_segments(request, spec)


def _check_pictures(request: GenerationRequest, spec: FamilySpec) -> None:
    """Check the first and the last picture, which belong to mode 'direct', against what the family takes."""
    given = [name for name in PICTURES if getattr(request, name) is not None]
    if request.mode != DIRECT:
        if given:
            raise ConfigError(
                f"{given[0]} is given, but mode '{request.mode}' takes no first or last picture: use mode 'direct', or "
                "given keyframes."
            )
        if "first_image_required" in spec.native_conditioning:
            raise ConfigError(f"{spec.title} generates only from a first picture: use mode 'direct' with an image.")
        return
    for name in PICTURES:
        is_taken, is_required = (getattr(spec, f"{verb}_{name}") for verb in ("takes", "requires"))
        if name in given and not is_taken:
            raise ConfigError(f"{spec.title} takes no {SHOWN[name]}: leave {name} out, or use another model.")
        if name not in given and is_required:
            by_keyframes = ", or mode 'keyframes' with source 'given'" if requires_end_frames(spec) else ""
            raise ConfigError(f"{spec.title} needs a {SHOWN[name]}: set {name}{by_keyframes}.")
    if given and request.num_frames < 2:
        raise ConfigError("A clip of 1 frame has no frames after a first picture: use more frames.")


def _check_keyframes(request: GenerationRequest, spec: FamilySpec) -> None:
    plan, last = keyframe_plan(request), request.num_frames - 1
    if last < 1:
        raise ConfigError("A clip of 1 frame has no frames between keyframes: use more frames, or mode 'direct'.")
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
        raise ConfigError(f"{plan.drafts} drafts need a mix of rewards that selects one of them: set choose_by.")
    if plan.source == "given" and not frames:
        raise ConfigError("Keyframe source 'given' needs at least one given keyframe: add one, or use source 'joint'.")


def _check_segments(request: GenerationRequest, spec: FamilySpec) -> None:
    """Check for keyframes at both ends of the clip, and for supported lengths between neighbours."""
    if request.mode != "keyframes" or keyframe_plan(request).source != "given":
        raise ConfigError(
            f"{spec.title} generates only frames between given pictures: use mode 'keyframes' with source 'given'."
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
    """Return the smallest number of frames that the family supports and that is at least `num_frames`."""
    nearest = spec.nearest_frames(num_frames)
    return nearest if nearest >= num_frames else nearest + spec.frame_stride


PLAN_CHECKS: dict[str, Callable[[GenerationRequest, FamilySpec], None]] = {
    "keyframes": _check_keyframes,
    "windows": _check_windows,
}
