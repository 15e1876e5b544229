"""The rows of the reward matrix: the required effect of each perturbation on each reward and gate."""

from dataclasses import dataclass

from rewards import REWARDS

STAY = 0.10  # a reward that must not move stays within this
EXACT = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The required effect of one perturbation; `hack`: it must not raise the total of any mix either."""

    falls: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    tolerance: float = STAY
    hack: bool = False


# Rewards of single frames, independent of the order of the frames.
SINGLE_FRAMES = ("clip_vid", "caption_consistency", "aesthetic")
ROWS: dict[str, Row] = {
    "frozen": Row(
        falls=("t_lpips", "flow_smoothness", "structure_constancy", "novelty_after_k", "gate.motion"),
        stays=(*SINGLE_FRAMES, "framing", "gate.sharpness", "gate.cut"),
        hack=True,
    ),
    "jitter": Row(
        falls=("flow_smoothness", "framing"),
        stays=("t_lpips", "identity_lock", *SINGLE_FRAMES, "loop_break", "gate.cut"),
        hack=True,
    ),
    "wobble": Row(
        falls=("t_lpips", "flow_smoothness", "structure_constancy"),
        stays=("clip_vid", "loop_break"),
        hack=True,
    ),
    "flicker": Row(
        falls=("t_lpips",),
        stays=("flow_smoothness", "identity_lock", "clip_vid", "loop_break", "gate.motion", "gate.cut"),
    ),
    "noise": Row(
        falls=("t_lpips", "structure_constancy", "aesthetic"),
        stays=("loop_break", "framing", "gate.cut"),
        hack=True,
    ),
    "pure_noise": Row(
        falls=("t_lpips", "flow_smoothness", "structure_constancy", "aesthetic", "novelty_after_k", "clip_vid"),
        hack=True,
    ),
    "blur": Row(
        falls=("t_lpips", "aesthetic", "gate.sharpness"),
        stays=("clip_vid", "loop_break", "framing", "gate.motion", "gate.cut"),
        hack=True,
    ),
    "repeat": Row(
        falls=("loop_break", "novelty_after_k", "gate.loop"),
        stays=("identity_lock", *SINGLE_FRAMES, "gate.sharpness"),
        hack=True,
    ),
    "ping_pong": Row(
        falls=("loop_break", "novelty_after_k", "gate.loop"),
        stays=("identity_lock", *SINGLE_FRAMES, "gate.sharpness", "gate.cut"),
        hack=True,
    ),
    "reverse": Row(
        stays=(
            *("t_lpips", "flow_smoothness", "structure_constancy", "identity_lock", "loop_break", "framing"),
            *SINGLE_FRAMES,
            *("gate.motion", "gate.sharpness", "gate.cut"),
        ),
    ),
    "shuffle": Row(
        falls=("t_lpips", "flow_smoothness", "structure_constancy", "seam"),
        stays=("identity_lock", *SINGLE_FRAMES, "gate.sharpness"),
        hack=True,
    ),
    "other_subject": Row(falls=("identity_lock", "seam"), stays=("loop_break", "aesthetic")),
    "cut": Row(
        falls=("seam", "t_lpips", "structure_constancy", "novelty_after_k", "gate.cut"),
        stays=("loop_break",),
        hack=True,
    ),
    "cut_elsewhere": Row(
        falls=("t_lpips", "structure_constancy", "novelty_after_k", "gate.cut"),
        stays=("seam", "loop_break"),
        hack=True,
    ),
    "wrong_prompt": Row(
        falls=("clip_vid", "caption_consistency"),
        stays=(
            *("t_lpips", "flow_smoothness", "fvd_lite", "identity_lock", "structure_constancy", "seam", "loop_break"),
            *("aesthetic", "framing", "novelty_after_k", "gate.motion", "gate.sharpness", "gate.cut"),
        ),
        tolerance=EXACT,
    ),
    "to_the_edge": Row(falls=("framing",), stays=("t_lpips", "loop_break", "gate.sharpness", "gate.cut")),
    "rolling": Row(falls=("framing",), stays=("loop_break", "gate.cut")),
    "flip": Row(
        stays=(*REWARDS, "gate.motion", "gate.sharpness", "gate.cut"),
        tolerance=0.05,
    ),
    "double_rate": Row(
        falls=("flow_smoothness",),
        stays=("identity_lock", *SINGLE_FRAMES, "loop_break", "gate.sharpness"),
    ),
}
# Films made from a still picture, and films retouched: no total of a mix may exceed that of the original.
_MOVED_STILL = Row(falls=("gate.liveness",), hack=True)
ATTACKS: dict[str, Row] = {
    "gliding_patch": _MOVED_STILL,
    "slow_zoom": _MOVED_STILL,
    "slow_pan": _MOVED_STILL,
    "sliding_cutout": _MOVED_STILL,
    "cross_fade": _MOVED_STILL,
    "mostly_frozen": _MOVED_STILL,
    "texture_scroll": _MOVED_STILL,
    "slow_ping_pong": Row(falls=("gate.loop",), hack=True),
    **dict.fromkeys(
        (
            *("oversharpened", "saturated", "frozen_subject", "tiled", "painted_prompt", "vignette"),
            *("faint_noise", "faint_flicker"),
        ),
        Row(hack=True),
    ),
}
ALL_ROWS = {**ROWS, **ATTACKS}
HACKS = tuple(key for key, row in ALL_ROWS.items() if row.hack)
