"""Sana-Video: prompts inside the pipeline's instruction, negative prompts without, in Generate and in training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.families.prompt_cache import PromptCache
from engine.family_interface import Conditioning
from engine.generation.context import GenerationContext, encode
from engine.sampling.sampler import denoise
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for
from engine.training.data.prompt_embeddings import PromptEmbeddings

PROMPT, UNWANTED = "A red circle moving right", "Blurry star"

pytestmark = pytest.mark.parametrize("tiny", ["sana_video"], indirect=True)


def asked(tiny: SimpleNamespace) -> Any:
    updates = {"prompt": PROMPT, "negative_prompt": UNWANTED, "guidance": 3.0}
    return tiny.model.request.model_copy(update=updates)


def finished(family: Any, request: Any, positive: Conditioning, negative: Conditioning) -> torch.Tensor:
    noise = family.init_latents(request, [generator_for(3)])
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, 0)
    steps = denoise(family, noise, sigmas, positive, negative=negative, guidance=request.guidance)
    return list(steps)[-1].next_latents


@pytest.mark.double("parity")
def test_texts_become_the_pipelines_latents(tiny_open: SimpleNamespace, tmp_path: Path) -> None:
    """From prompts as they are written, by its own instruction; in Generate without a cache, into one and from it."""
    family, request, cache = tiny_open.family, asked(tiny_open), PromptCache(tmp_path)
    noise = family.init_latents(request, [generator_for(3)])
    with tiny_open.of_order(tiny_open.pipeline, 1):
        wanted = tiny_open.pipeline(
            PROMPT,
            negative_prompt=UNWANTED,
            latents=noise,
            width=request.width,
            height=request.height,
            frames=request.num_frames,
            num_inference_steps=request.num_steps,
            guidance_scale=request.guidance,
            use_resolution_binning=False,
            output_type="latent",
        ).frames
    for prompts in (None, cache, cache):
        made = encode(family, [request], GenerationContext(prompts=prompts), request.guidance)
        assert made.negative is not None
        assert (finished(family, request, made.positive, made.negative) - wanted).abs().max() <= 1e-4
    trained = PromptEmbeddings(family, request.fps, disk=PromptCache(tmp_path / "new"))
    negative = trained.negatives_of([request])
    assert negative is not None
    assert (finished(family, request, trained.of([request]), negative) - wanted).abs().max() <= 1e-4


def test_a_text_is_cached_as_prompt_and_as_negative_prompt(tiny_open: SimpleNamespace, tmp_path: Path) -> None:
    family, cache = tiny_open.family, PromptCache(tmp_path)
    for _ in range(2):
        kinds = [cache.encode(family, [PROMPT], negative=negative) for negative in (False, True)]
        assert kinds[0].embeds.shape == kinds[1].embeds.shape
        assert not torch.allclose(kinds[0].embeds, kinds[1].embeds, atol=1e-3)
    both = PromptEmbeddings(family, 8.0, disk=cache)
    same = asked(tiny_open).model_copy(update={"negative_prompt": PROMPT})
    negative = both.negatives_of([same])
    assert negative is not None and both.encoded == 0
    assert torch.equal(both.of([same]).embeds, kinds[0].embeds)
    assert torch.equal(negative.embeds, kinds[1].embeds)
