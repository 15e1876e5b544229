"""Measured reasons for cells of the reward matrix that do not hold, and a note on its published page."""

_FINDER = "the subject finder without a network selects another place as the subject"
_SLOW = "`tree` pans so slowly that its gate is 0.78; any false motion raises it"
_LEAVES = "`tree`: leaves cover leaves, so that the outlines of any two frames agree"
_SOFTENS = "shifts by fractions of a pixel blur the picture a little"
_BRIGHT = "a change of brightness gives a small optical flow"
_GUESSED = "the embedded captioner names the shape correctly in four frames of ten, so other frames give other captions"
_MIXED = "after the cut the outlines of the other clip count, which may be steadier"
_CHANCE = (
    "nearly all change is the shaking, two random numbers a step; among all windows of 8 steps, some pair agrees by "
    "chance when one is reversed in time"
)
_FLAT = "flat shapes have too little texture for the liveness gate, so it stays open (+0.00 on all clips)."
_STEADIER = "after the cut the other clip counts, whose frames agree better than those of the moving leaves"
EXPLAINED: dict[tuple[str, str, str], str] = {
    ("real", "jitter", "t_lpips"): f"{_SOFTENS}, each frame differently: `tree` -0.17, `bunny` -0.10.",
    ("real", "jitter", "loop_break"): f"{_CHANCE}: 0.93 in `carphone` and `tree`, 0.91 in `bunny`.",
    ("real", "to_the_edge", "t_lpips"): "in `tree` the replicated border has no leaves (+0.27).",
    ("real", "flicker", "gate.motion"): f"{_SLOW} (+0.22).",
    ("real", "noise", "structure_constancy"): f"{_LEAVES}, also with noise (+0.02).",
    ("real", "noise", "framing"): f"{_FINDER} in `carphone` (-0.51).",
    ("real", "blur", "gate.motion"): f"{_SLOW} (+0.19).",
    ("real", "shuffle", "structure_constancy"): f"{_LEAVES} (+0.01).",
    ("real", "cut", "t_lpips"): f"{_STEADIER}: `tree` +0.11 (the cut gate falls by 1.00).",
    ("real", "cut", "structure_constancy"): f"{_MIXED}: `tree` +0.18.",
    ("real", "cut_elsewhere", "structure_constancy"): f"{_MIXED}: `tree` +0.08.",
    (
        "mini",
        "frozen",
        "framing",
    ): "a frozen camera is steady; in the original, the turns of a lone shape count as shaking.",
    ("mini", "blur", "aesthetic"): (
        "the original `mini_5` is rated low (0.77), because its emptiest frame has no contrast; blurred, it loses 0.03."
    ),
    ("mini", "jitter", "loop_break"): f"{_CHANCE} in `mini_3` (-0.99).",
    (
        "mini",
        "jitter",
        "total.mini",
    ): "`mini_9`: its bounce counts as a fifth of a cut, which the shaking hides (+0.08).",
    ("mini", "cut_elsewhere", "seam"): (
        "the other clip changes the usual jump near the seam: `mini_3` -0.32, `mini_0` -0.18, the others within 0.04."
    ),
    ("mini", "flicker", "flow_smoothness"): f"{_BRIGHT}: `mini_3` -0.30, `mini_1` -0.16.",
    ("mini", "cut", "structure_constancy"): f"{_MIXED}: `mini_4` +0.23, `mini_9` +0.14, `mini_7` +0.06.",
    ("mini", "cut_elsewhere", "structure_constancy"): f"{_MIXED}: `mini_9` +0.05, `mini_4` +0.03.",
    (
        "mini",
        "shuffle",
        "identity_lock",
    ): "the subject is tracked by its path and lost when frames are out of order (-1.00 to -0.07).",
    (
        "mini",
        "jitter",
        "total.long",
    ): "`mini_7`: the exit of its subject counts as half a cut, which the shaking hides (+0.03).",
    ("mini", "blur", "framing"): "`mini_1` counts as steadier without its edges (+0.18).",
    ("mini", "slow_pan", "total.mini"): (
        "with flat shapes a panned still picture looks like a shape that moves evenly, and the liveness gate cannot "
        "distinguish them: `mini_1` +0.09, `mini_2` +0.07."
    ),
    ("mini", "mostly_frozen", "total.mini"): (
        "`mini_9`: the part of its bounce that counts as a fifth of a cut is in the frozen area (+0.05)."
    ),
    ("mini", "double_rate", "loop_break"): (
        "windows of 8 steps contain only 4 changes when every second step is empty, so that a shape that moves in "
        "circles repeats: `mini_0`, `mini_1` and `mini_2` -1.00."
    ),
    ("mini", "gliding_patch", "gate.liveness"): _FLAT,
    ("mini", "slow_zoom", "gate.liveness"): _FLAT,
    ("mini", "slow_pan", "gate.liveness"): _FLAT,
    ("mini", "sliding_cutout", "gate.liveness"): _FLAT,
    ("mini", "mostly_frozen", "gate.liveness"): _FLAT,
    ("mini", "frozen", "caption_consistency"): f"{_GUESSED} (-0.14 to +0.17).",
    ("mini", "jitter", "caption_consistency"): f"{_GUESSED} (-0.02 to +0.18).",
    ("mini", "repeat", "caption_consistency"): f"{_GUESSED} (-0.19 to +0.05).",
    ("mini", "ping_pong", "caption_consistency"): f"{_GUESSED} (-0.25 to +0.05).",
    # The domain "clips": measured on the first 33 frames of the test clips.
    ("clips", "oversharpened", "total.mini_train"): (
        "the flow of `pancake.mkv`, a soft film, is a little smoother after sharpening: +0.003."
    ),
}
"""(domain, perturbation, column) to the measured reason for which the cell does not hold."""
