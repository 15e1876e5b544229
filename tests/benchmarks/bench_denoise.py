"""`denoise` against diffusers' own LTXPipeline: same weights, noise, embeddings, steps and guidance; no decoding.

The two run in turn, the order swapped from pair to pair, and the figure is the median ratio. Bar: 1.05.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXPipeline
from measurement import report

from engine.config.presets import load_preset
from engine.families import open_model
from engine.generation.request import GenerationRequest
from engine.sampling.sampler import denoise
from engine.sampling.schedule import sigmas_for
from engine.seeds import generator_for

BAR = 1.05
NUM_PAIRS = 15
REQUEST = GenerationRequest(prompt="a blue star bouncing in the desert", num_frames=33, num_steps=20, guidance=3.0)


def seconds(call: Callable[[], torch.Tensor]) -> tuple[float, float]:
    """Wall clock and processor time; on a machine that is busy with other things only the second means much."""
    began, cpu_began = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - cpu_began


def main() -> int:
    family = open_model(load_preset("models", REQUEST.model))
    prompt, negative = (
        replace(family.encode([text]), fps=REQUEST.fps) for text in (REQUEST.prompt, REQUEST.negative_prompt)
    )
    noise = family.init_latents(REQUEST, [generator_for(REQUEST.seed)])
    pipeline = LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_config(family.scheduler_config),
        vae=family.vae,
        text_encoder=family.text_encoder,
        tokenizer=family.tokenizer,
        transformer=family.network,
    )
    pipeline.set_progress_bar_config(disable=True)
    sigmas = sigmas_for(family.scheduler_config, REQUEST.num_steps, noise[0, 0].numel())

    def ours() -> torch.Tensor:
        *_, last = denoise(family, noise, sigmas, prompt, negative=negative, guidance=REQUEST.guidance)
        return last.next_latents

    def theirs() -> torch.Tensor:
        return pipeline(
            prompt_embeds=prompt.embeds,
            prompt_attention_mask=prompt.mask,
            negative_prompt_embeds=negative.embeds,
            negative_prompt_attention_mask=negative.mask,
            latents=noise.flatten(2).transpose(1, 2),
            num_frames=REQUEST.num_frames,
            width=REQUEST.width,
            height=REQUEST.height,
            frame_rate=REQUEST.fps,
            num_inference_steps=REQUEST.num_steps,
            guidance_scale=REQUEST.guidance,
            output_type="latent",
        ).frames

    seconds(ours), seconds(theirs)
    ratios = []
    for pair in range(NUM_PAIRS):
        first, second = (ours, theirs) if pair % 2 else (theirs, ours)
        times = {first: seconds(first), second: seconds(second)}
        ratios.append([mine / other for mine, other in zip(times[ours], times[theirs], strict=True)])
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    difference = float((ours().flatten(2).transpose(1, 2) - theirs()).abs().max())
    ok = report("denoise_vs_diffusers", wall, "ratio", bar=BAR, cpu_ratio=round(cpu, 4), max_abs_difference=difference)
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
