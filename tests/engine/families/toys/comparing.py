"""Latents of a toy model with adapters: by Dailies, and by the pipeline of diffusers from the same noise."""

from dataclasses import replace
from typing import Any

from engine.family_interface import Conditioning
from engine.sampling.sampler import denoise
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.seeds import generator_for

from .base import TinyModel

PROMPT, SEED = "a red circle moving right", 3
RANK, ALPHA = 2, 6


def adapted(tiny: Any, targets: Any = (), without: str | None = None) -> Any:
    """The toy family with a new LoRA whose alpha is not its rank, "made", switched on: of the family's layers and
    further `targets`, or of those that match a pattern.
    """
    import torch
    from peft import LoraConfig

    family = tiny.open()
    torch.manual_seed(0)
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=targets if isinstance(targets, str) else [*family.spec.lora_targets, *targets],
        exclude_modules=without,
        init_lora_weights=False,
    )
    family.network.add_adapter(config, adapter_name="made")
    return family


def latents_of(model: TinyModel, family: Any) -> Any:
    """The final latents of Dailies for the same noise."""
    request = model.request
    noise = family.init_latents(request, [generator_for(SEED)])
    given = family.encode_pictures(model.pictures(1), model.places, request.num_frames) if model.places else {}

    def encoded(prompt: str) -> Conditioning:
        words = family.encode([prompt])
        return replace(words, fps=request.fps, extras={**(words.extras or {}), **given})

    sigmas = sigmas_for(family.scheduler_config, request.num_steps, num_tokens(noise, given))
    return list(denoise(family, noise, sigmas, encoded(PROMPT), negative=encoded("")))[-1].next_latents


def their_latents(tiny: Any, noise: Any, pipeline: Any = None) -> Any:
    """The latents that the pipeline of diffusers makes of the same noise, prompt and pictures."""
    import torch

    model, request, pipeline = tiny.model, tiny.model.request, pipeline or tiny.pipeline
    arguments = model.encode(pipeline, [PROMPT])
    if model.places:
        arguments |= model.show(model.pictures(1)[0], model.places, request)
    with tiny.of_order(pipeline, 1):
        made = pipeline(
            **arguments,
            **model.further,
            **model.start(model.reorder(noise), SEED),
            width=request.width,
            height=request.height,
            **{model.frames: request.num_frames},
            num_inference_steps=request.num_steps,
            **model.guide(pipeline, 1.0),
            output_type="latent",
        ).frames
    return torch.as_tensor(tiny.model.reorder(tiny.model.finish(made)))
