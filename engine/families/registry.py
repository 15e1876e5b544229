"""The registry of model families, and `open_model`. Imports no torch until a model is opened."""

from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from engine.errors import ConfigError
from engine.families.files.sources import is_path, local_path
from engine.family_interface import FamilyOptions, FamilySpec, ModelFamily
from engine.hardware.device import pick_device
from engine.hardware.rocm import choose_kernels
from rewards.errors import did_you_mean
from rewards.import_object import import_object

if TYPE_CHECKING:
    from engine.config.schema import ModelPreset

FAMILIES = {
    "ltx": "engine.families.ltx:LTXFamily",
    "ltx_condition": "engine.families.ltx:LTXConditionFamily",
    "ltx2": "engine.families.ltx:LTX2Family",
    "wan": "engine.families.wan:WanFamily",
    "wan_ti2v": "engine.families.wan:WanTextImageFamily",
    "wan_i2v": "engine.families.wan:WanImageFamily",
    "wan_flf": "engine.families.wan:WanFirstLastFamily",
    "wan_vace": "engine.families.wan:WanVACEFamily",
    "skyreels_v2": "engine.families.wan:SkyReelsFamily",
    "animatediff": "engine.families.animatediff:AnimateDiffFamily",
    "animatediff_sparsectrl": "engine.families.animatediff:SparseCtrlFamily",
    "cogvideox": "engine.families.cogvideox:CogVideoXFamily",
    "cogvideox15": "engine.families.cogvideox:CogVideoX15Family",
    "hunyuanvideo": "engine.families.hunyuanvideo:HunyuanVideoFamily",
    "hunyuanvideo15": "engine.families.hunyuanvideo:HunyuanVideo15Family",
    "hunyuanvideo15_i2v": "engine.families.hunyuanvideo:HunyuanVideo15ImageFamily",
    "kandinsky5": "engine.families.kandinsky5:Kandinsky5Family",
    "mochi": "engine.families.mochi:MochiFamily",
    "sana_video": "engine.families.sana_video:SanaVideoFamily",
}


def family_class(key: str) -> type[ModelFamily]:
    """Return the class of a family; cheap, because family modules import torch lazily. Raises ConfigError."""
    if key not in FAMILIES:
        raise ConfigError(f"Unknown family '{key}'. {did_you_mean(key, FAMILIES)}")
    return cast("type[ModelFamily]", import_object(FAMILIES[key]))


def family_spec(key: str) -> FamilySpec:
    """Return the spec of a family without loading a model. Raises ConfigError for an unknown key."""
    return family_class(key).spec


def one_pass_guidance(model: "ModelPreset") -> float:
    """Return the guidance of a model without a second pass.

    It is the model's own where its network takes guidance as an input, else 1.
    """
    return model.guidance if family_spec(model.family).embedded_guidance else 1.0


def open_model(preset: "ModelPreset", device: str | None = None) -> ModelFamily:
    """Load the preset's model on `device` (None: the best available). Raises FamilyError in one sentence."""
    import torch

    choose_kernels()
    options = FamilyOptions(
        parts={part: _local(source) for part, source in preset.parts.items()},
        scheduler=preset.scheduler,
        offload_text=preset.offload_text,
        tile_vae=preset.tile_vae,
        weights=preset.weights,
        offload_blocks=preset.offload_blocks,
        context_frames=preset.context_frames,
    )
    family = family_class(preset.family)(local_source(preset), options)
    family.load(device or pick_device(), getattr(torch, preset.dtype))
    return family


def local_source(preset: "ModelPreset") -> str:
    """Return the preset's source for `ModelFamily`: a folder, or a hub id with the preset's revision."""
    source = _local(preset.source)
    is_hub_id = not is_path(source) and local_path(source) is None and "@" not in source
    return f"{source}@{quote(preset.revision, safe='')}" if preset.revision and is_hub_id else source


def _local(source: str) -> str:
    """Return an existing path of a shipped or local source as an absolute path; other sources unchanged."""
    return str(local_path(source) or source)
