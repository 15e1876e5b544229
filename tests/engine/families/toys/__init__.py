"""Every family at toy size: what is written to disk, diffusers' own pipeline over the same weights, how it is called.

A further family is one more entry of `MODELS`, in a file of its own.
"""

from . import animatediff, cogvideox, hunyuanvideo, hunyuanvideo15, kandinsky5, ltx, ltx2, mochi, sana_video, wan
from .base import Kit, TinyModel
from .comparing import adapted, latents_of, their_latents
from .steps import of_order

__all__ = ["DOUBLES", "MODELS", "OTHERS", "Kit", "TinyModel", "adapted", "latents_of", "of_order", "their_latents"]

MODELS: dict[str, TinyModel] = (
    ltx.MODELS
    | ltx2.MODELS
    | wan.MODELS
    | cogvideox.MODELS
    | hunyuanvideo.MODELS
    | hunyuanvideo15.MODELS
    | kandinsky5.MODELS
    | mochi.MODELS
    | sana_video.MODELS
    | animatediff.MODELS
)
OTHERS: dict[str, TinyModel] = ltx.OTHERS | ltx2.OTHERS | wan.OTHERS | animatediff.OTHERS
"""For tests of their own, not for what holds for every family."""
DOUBLES: dict[str, str] = {
    "animatediff_freenoise": "animatediff",
    "animatediff_lightning": "animatediff",
    "animatediff_sd15": "animatediff",
    "animatediff_sparsectrl": "animatediff_sparsectrl",
    "cogvideox_2b": "cogvideox",
    "cogvideox_5b": "cogvideox_rotary",
    "cogvideox15_5b": "cogvideox15",
    "hunyuanvideo": "hunyuanvideo",
    "hunyuanvideo15_480p": "hunyuanvideo15",
    "hunyuanvideo15_i2v_480p": "hunyuanvideo15_i2v",
    "kandinsky5_lite_5s": "kandinsky5",
    "longanimatediff": "longanimatediff",
    "ltx": "ltx",
    "ltx2": "ltx2",
    "ltx_095": "ltx_condition_without_pictures",
    "ltx_097_13b": "ltx_condition_without_pictures",
    "mochi_1": "mochi",
    "sana_video_2b": "sana_video",
    "skyreels_v2_14b": "skyreels_v2",
    "wan21_14b": "wan",
    "wan21_1_3b": "wan",
    "wan21_flf_14b": "wan_flf",
    "wan21_i2v_14b": "wan_i2v",
    "wan21_vace_14b": "wan_vace_without_pictures",
    "wan21_vace_1_3b": "wan_vace_without_pictures",
    "wan22_14b": "wan_experts",
    "wan22_5b": "wan_level_per_token",
    "wan22_flf_14b": "wan_flf_experts",
    "wan22_i2v_14b": "wan_i2v_experts",
}
"""The toy model of each preset in presets/models, all but `mini`, which is its own."""
