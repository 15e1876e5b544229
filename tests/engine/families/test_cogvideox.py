"""CogVideoX 1.5: the latent before those of the clip, and which folders each of the two families takes."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import FamilyError
from engine.families.registry import family_class
from engine.generation.keyframes import _keyframe_latents
from engine.generation.previews import picture
from engine.sampling.sampler import DenoiseStep
from engine.seeds import generator_for
from engine.training.prompt_settings import VideoDraftConfig
from engine.training.trainers.draft import VideoDraftTrainer

OF_15 = pytest.mark.parametrize("tiny", ["cogvideox15"], indirect=True)


@OF_15
def test_the_lead_latent_is_the_first_again_and_not_decoded(tiny_open: SimpleNamespace) -> None:
    family, request = tiny_open.family, tiny_open.model.request
    shape = (1, request.num_frames, request.height, request.width, 3)
    latents = family.encode_frames(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert latents.shape[2] == 1 + 1 + (request.num_frames - 1) // 4
    assert torch.equal(latents[:, :, 0], latents[:, :, 1])
    changed = latents.clone()
    changed[:, :, 0] += 1
    assert np.array_equal(family.decode(changed), family.decode(latents))


@OF_15
def test_a_preview_leaves_the_lead_latent_out(tiny_open: SimpleNamespace) -> None:
    family = tiny_open.family
    clean = family.init_latents(tiny_open.model.request, [generator_for(1)])
    changed = clean.clone()
    changed[:, :, 0] += 9

    def shown(latents: torch.Tensor) -> np.ndarray:
        levels = {"sigma": 0.5, "sigma_next": 0.0, "log_prob": None, "noise_std": 0.0}
        return picture(family, DenoiseStep(index=0, latents=latents, next_latents=latents, **levels), None)

    assert shown(clean).std() > 1
    assert np.array_equal(shown(clean), shown(changed))


def test_a_keyframe_at_the_start_holds_the_lead_latent_as_well() -> None:
    assert _keyframe_latents((0, 16), 17, 6, 1).tolist() == [True, True, False, False, False, True]
    assert _keyframe_latents((16,), 17, 6, 1).tolist() == [False, False, False, False, False, True]
    assert _keyframe_latents((0, 16), 17, 5, 0).tolist() == [True, False, False, False, True]


@OF_15
def test_draft_decodes_as_many_frames_of_latents_as_it_is_told(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, request, decoded = tiny.open(), tiny.model.request, []

    def reward(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
        return [0.0 for _ in completions]

    def of_pixels(frames: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        decoded.append(frames.shape[1])
        return frames.mean((1, 2, 3, 4))

    reward.of_pixels = of_pixels  # type: ignore[attr-defined]
    shape = {name: getattr(request, name) for name in ("num_frames", "width", "height", "fps")}
    shared = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "lora_rank": 2, "num_steps": 2}
    args = VideoDraftConfig(**shape, **shared, decode_frames=1, per_device_train_batch_size=1)
    trainer = VideoDraftTrainer(model=family, args=args, reward_funcs=reward, train_dataset=["a red circle"])
    list(trainer.losses([{"prompt": "a red circle"}]))
    assert decoded == [1], "one latent is one frame"


@pytest.mark.parametrize(
    ("tiny", "family", "wanted"),
    [("cogvideox15", "cogvideox", "cogvideox15"), ("cogvideox_rotary", "cogvideox15", "cogvideox")],
    indirect=["tiny"],
)
def test_the_other_version_is_refused(tiny: SimpleNamespace, family: str, wanted: str) -> None:
    other = family_class(family)(str(tiny.folder), tiny.options)
    with pytest.raises(FamilyError, match=f"set family = '{wanted}' in the preset"):
        other.load("cpu", torch.float32)
